import { SHARED } from './services.ts';

declare global {
  /** How `global-teardown.ts`, which Jest loads apart from this file, learns what there is to stop. */
  var stopSharedServices: (() => Promise<void>) | undefined;
}

/** Runs once, before the first test file. */
export default async function globalSetup(): Promise<void> {
  const started = await Promise.allSettled(SHARED.map((share) => share()));
  const stops = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  globalThis.stopSharedServices = async () => {
    await Promise.all(stops.map((stop) => stop()));
  };
  const failed = started.find((result) => result.status === 'rejected');
  if (failed) {
    await globalThis.stopSharedServices();
    throw failed.reason;
  }
}
