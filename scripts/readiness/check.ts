import type { Client } from './client.ts';
import type { Options } from './options.ts';

/** One question to the deployment. */
export interface Check {
  readonly name: string;
  /** Where to look when it fails, unless the verdict knows better. */
  readonly lookAt: string;
  /** Models answer in it, which may take longer than anything else. */
  readonly asksModel?: true;
  /** It is of no use with a key that is not accepted. */
  readonly needsKey?: true;
  /** @throws NoAnswer where the deployment does not answer; that is a failure like any other. */
  run(context: Context): Promise<Verdict>;
}

/** What came of a check. */
export interface Verdict {
  /** `skipped`: there is nothing to check in such a deployment. */
  readonly status: 'passed' | 'failed' | 'skipped';
  /** What was seen, or why there was nothing to see. */
  readonly saw: string;
  readonly lookAt?: string;
}

export interface Context {
  readonly client: Client;
  readonly options: Options;
  readonly found: Findings;
}

/** What checks have found out that later ones build on. */
export interface Findings {
  /** Nothing at all answers. */
  unreachable?: true;
  /** The key given is not accepted. */
  keyRefused?: true;
  /** GraphQL executes no document but those that it was given, so that none can be asked here. */
  persistedOnly?: true;
  /** Those that have answered. */
  readonly replicas: Set<string>;
  /** What `/ready` says of each dependency, the worst of several answers. Empty where it is closed to the outside. */
  readonly dependencies: Map<string, string>;
  /** A model that can chat. */
  model?: string;
  /** The id of a request that was answered to its end. */
  answeredRequest?: string | undefined;
}

export function passed(saw: string): Verdict {
  return { status: 'passed', saw };
}

export function failed(saw: string, lookAt?: string): Verdict {
  return { status: 'failed', saw, ...(lookAt !== undefined && { lookAt }) };
}

export function skipped(why: string): Verdict {
  return { status: 'skipped', saw: why };
}

/** Failed with everything that is wrong, or else passed. */
export function judge(problems: readonly string[], saw: string): Verdict {
  return problems.length > 0 ? failed([...new Set(problems)].join('; ')) : passed(saw);
}

/** As many replicas as there have to be, or else as have been seen. */
export function expectedReplicas({ options, found }: Pick<Context, 'options' | 'found'>): number {
  return options.replicas ?? Math.max(1, found.replicas.size);
}
