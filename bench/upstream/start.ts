import { join } from 'node:path';
import { freeUrl, startBeside, untilAnswers } from '../machine.ts';
import type { Script } from './script.ts';

export interface Upstream {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts the fake model server on the core that is not measured. */
export async function startUpstream(script: Script): Promise<Upstream> {
  const { port, url } = await freeUrl();
  const program = join(import.meta.dirname, 'main.ts');
  const server = await startBeside(program, [String(port), JSON.stringify(script)]);
  await untilAnswers(`${url}/api/version`, server);
  return { url, stop: () => server.stop() };
}
