import { type Check, type Context, type Findings, failed, type Verdict } from './check.ts';
import { authentication } from './checks/authentication.ts';
import { completion } from './checks/completion.ts';
import { corsHeaders, preflight } from './checks/cors.ts';
import { database } from './checks/database.ts';
import { errors } from './checks/errors.ts';
import { health } from './checks/health.ts';
import { loadBalancing } from './checks/load-balancing.ts';
import { models } from './checks/models.ts';
import { redis } from './checks/redis.ts';
import { services } from './checks/services.ts';
import { createClient } from './client.ts';
import type { Options } from './options.ts';

/** In this order: later ones build on what earlier ones have found. */
export const CHECKS: readonly Check[] = [
  services,
  health,
  corsHeaders,
  preflight,
  models,
  completion,
  database,
  redis,
  loadBalancing,
  errors,
  authentication,
];

export interface Result extends Verdict {
  readonly name: string;
  readonly ms: number;
}

/** How many answers a check may wait for one after the other. */
const WAITS = 3;

/** Runs every check, one after the other. @param say is told each result as it is there. */
export async function runChecks(options: Options, say: (result: Result) => void): Promise<readonly Result[]> {
  const found: Findings = { replicas: new Set(), dependencies: new Map() };
  const results: Result[] = [];
  for (const check of CHECKS) {
    const begun = performance.now();
    const verdict = findObstacle(check, found) ?? (await runCheck(check, options, found));
    const lookAt = verdict.status === 'failed' ? { lookAt: verdict.lookAt ?? check.lookAt } : {};
    const result = { name: check.name, ...verdict, ...lookAt, ms: Math.round(performance.now() - begun) };
    results.push(withoutKey(result, options.key));
    say(results.at(-1) ?? result);
  }
  return results;
}

/** What makes asking pointless. The check whose matter it is fails as well, and says more. */
function findObstacle({ needsKey }: Check, { unreachable, keyRefused }: Findings): Verdict | undefined {
  if (unreachable) return failed('not tried, as nothing answers', 'services, above');
  return needsKey && keyRefused
    ? failed('not tried, as the key given is not accepted', 'authentication, below')
    : undefined;
}

/** However dead a deployment is, a check ends: whatever it waits for is cut off when its time is over. */
async function runCheck(check: Check, options: Options, found: Findings): Promise<Verdict> {
  const { url, key, timeoutMs, answerTimeoutMs } = options;
  const signal = AbortSignal.timeout(WAITS * (timeoutMs + (check.asksModel ? answerTimeoutMs : 0)));
  const context: Context = { client: createClient({ url, key, timeoutMs, signal }), options, found };
  return await check.run(context).catch((error: Error) => failed(error.message));
}

/** What the deployment said is shown as it is, but for the key, which it may have repeated, and control characters. */
function withoutKey(result: Result, key: string): Result {
  const clean = (text: string) => text.replaceAll(key, '(the key)').replace(/\p{Cc}+/gu, ' ');
  return {
    ...result,
    saw: clean(result.saw),
    ...(result.lookAt !== undefined && { lookAt: clean(result.lookAt) }),
  };
}
