import { CommandError } from '../../src/cli/program.ts';
import type { Fleet } from './fleet.ts';
import type { Options } from './options.ts';
import type { Replica, Upstreams } from './upstreams.ts';

/**
 * A replica that has had nothing under way for this long gets nothing more from nginx: a reload takes effect within
 * some hundred milliseconds, after which nginx's former processes only finish what they have.
 */
const QUIET_MS = 1000;
const LOOK_EVERY_MS = 250;
const LOOKS = 3;

export interface Deployment extends Pick<Options, 'drainMs' | 'readyMs'> {
  readonly upstreams: Upstreams;
  readonly fleet: Fleet;
  /** Told each step, a line each. */
  readonly say: (line: string) => void;
}

/**
 * Restarts every replica, one at a time.
 * @returns how many.
 * @throws CommandError where one does not get ready, or cannot be taken out without an outage.
 */
export async function restartAll(deployment: Deployment): Promise<number> {
  const replicas = await inOrder(deployment);
  for (const replica of replicas) await restartOne(replica, deployment);
  return replicas.length;
}

/** Those that serve nobody come first, as each of them is one that the others can then be spared for. */
async function inOrder({ upstreams, fleet }: Deployment): Promise<readonly Replica[]> {
  const ranked = await Promise.all(
    upstreams.list().map(async (replica) => ({ replica, rank: await rankOf(replica, fleet) })),
  );
  return ranked.sort((a, b) => a.rank - b.rank).map(({ replica }) => replica);
}

async function rankOf(replica: Replica, fleet: Fleet): Promise<number> {
  if (replica.isOut) return 0;
  if (!(await isRunning(fleet, replica))) return 1;
  return (await isReady(fleet, replica)) ? 3 : 2;
}

async function restartOne(replica: Replica, deployment: Deployment): Promise<void> {
  const { upstreams, fleet } = deployment;
  const say = (line: string) => deployment.say(`${replica.server}: ${line}`);
  await takeOut(replica, deployment);
  say('out of nginx');
  await untilQuiet(replica, say, deployment);
  say('restarting');
  const begun = Date.now();
  await fleet.restart(replica).catch((error: Error) => {
    throw new CommandError(`${stopped(replica)} ${error.message}`);
  });
  await untilReady(replica, begun, deployment);
  upstreams.setOut(replica, false);
  await reload(deployment, () => upstreams.setOut(replica, true));
  say(`back in nginx after ${((Date.now() - begun) / 1000).toFixed(1)} s`);
}

/** @throws CommandError where nobody would be left to serve, or nginx goes on sending requests there. */
async function takeOut(replica: Replica, deployment: Deployment): Promise<void> {
  const { upstreams, fleet } = deployment;
  const running = await isRunning(fleet, replica);
  if (running && !replica.isOut && (await isReady(fleet, replica))) await requireOther(replica, deployment);
  upstreams.setOut(replica, true);
  try {
    await reload(deployment, () => upstreams.setOut(replica, replica.isOut));
  } catch (error) {
    // nginx refuses a list with a name that does not resolve, such as that of a container that has ended. There is
    // nothing to take out then.
    if (running) throw error;
    upstreams.setOut(replica, true);
  }
}

/** @throws CommandError where nobody would be left to serve. */
async function requireOther(replica: Replica, { upstreams, fleet }: Deployment): Promise<void> {
  const others = upstreams.list().filter(({ number, isOut }) => number !== replica.number && !isOut);
  const ready = await Promise.all(others.map((other) => isReady(fleet, other)));
  if (ready.includes(true)) return;
  throw new CommandError(
    `${replica.server} is the only replica that serves: to restart it would be an outage.`,
  );
}

/** Makes nginx follow the file. Where it refuses, the file follows nginx: a later reload must not bring a surprise. */
async function reload({ fleet }: Deployment, revert: () => void): Promise<void> {
  try {
    await fleet.reload();
  } catch (error) {
    revert();
    throw new CommandError(`nginx was not reloaded. ${(error as Error).message}`);
  }
}

/** Until nothing is under way, or it has taken too long; the replica's own grace then still lies ahead. */
async function untilQuiet(
  replica: Replica,
  say: (line: string) => void,
  { fleet, drainMs }: Deployment,
): Promise<void> {
  const giveUpAt = Date.now() + Math.max(drainMs, QUIET_MS);
  let quietSince: number | undefined;
  let said = 0;
  while (Date.now() < giveUpAt) {
    const metrics = await fleet.probe(replica, '/metrics');
    // What has died meanwhile has nothing to finish.
    if (metrics === undefined && !(await isRunning(fleet, replica))) return;
    const count = metrics === undefined ? said : countInFlight(metrics);
    if (count !== said && count > 0) say(`${count} under way`);
    said = count;
    const now = Date.now();
    quietSince = metrics === undefined || count > 0 ? undefined : (quietSince ?? now);
    if (quietSince !== undefined && now - quietSince >= QUIET_MS) return;
    await sleep(LOOK_EVERY_MS);
  }
  if (said > 0) say(`${said} still under way after ${drainMs / 1000} s, which now have its grace`);
}

function countInFlight(metrics: string): number {
  const series = metrics.matchAll(/^llm_gateway_in_flight\{[^}]*\} (\d+)$/gm);
  return [...series].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** @throws CommandError where it takes too long. */
async function untilReady(replica: Replica, begun: number, { fleet, readyMs }: Deployment): Promise<void> {
  // Counted from the end of the restart: the grace of the process before may have taken most of the time.
  const giveUpAt = Date.now() + readyMs;
  for (;;) {
    const problem = await findProblem(replica, begun, fleet);
    if (problem === undefined) return;
    if (Date.now() > giveUpAt)
      throw new CommandError(`${stopped(replica)} After ${readyMs / 1000} s it ${problem}.`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** @returns what keeps a restarted replica from being put back. */
async function findProblem(replica: Replica, begun: number, fleet: Fleet): Promise<string | undefined> {
  const health = await fleet.probe(replica, '/health');
  if (health === undefined) return 'does not answer';
  const uptime = /"uptime_s":(\d+)/.exec(health);
  // A process from before the restart is on its way out, or the command has not restarted it.
  if (uptime && Number(uptime[1]) * 1000 > Date.now() - begun)
    return 'still is the process from before the restart';
  return (await isReady(fleet, replica)) ? undefined : 'is not ready';
}

async function isReady(fleet: Fleet, replica: Replica): Promise<boolean> {
  return (await fleet.probe(replica, '/ready')) !== undefined;
}

/** Looks more than once, as a machine that is busy enough may answer late. */
async function isRunning(fleet: Fleet, replica: Replica): Promise<boolean> {
  for (let look = 1; ; look++) {
    if ((await fleet.probe(replica, '/health')) !== undefined) return true;
    if (look === LOOKS) return false;
    await sleep(LOOK_EVERY_MS);
  }
}

function stopped({ server }: Replica): string {
  return `${server} did not come back: it stays out of nginx, and the others serve.`;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
