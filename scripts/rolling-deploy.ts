/** Restarts the replicas behind nginx one by one, without a failed request: see `--help`. */
import { runProgram } from '../src/cli/program.ts';
import { restartAll } from './rolling-deploy/deployment.ts';
import { createFleet } from './rolling-deploy/fleet.ts';
import { lockFile } from './rolling-deploy/lock.ts';
import { HELP, parseOptions } from './rolling-deploy/options.ts';
import { openUpstreams } from './rolling-deploy/upstreams.ts';

async function main(args: readonly string[]): Promise<string> {
  const options = parseOptions(args);
  if (!options) return HELP;
  const upstreams = openUpstreams(options.upstreams);
  upstreams.list();
  using _lock = lockFile(options.upstreams);
  const begun = Date.now();
  const count = await restartAll({ ...options, upstreams, fleet: createFleet(options), say: console.log });
  return `Restarted ${count} replicas in ${Math.round((Date.now() - begun) / 1000)} s.`;
}

if (import.meta.main) await runProgram(main);
