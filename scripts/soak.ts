/** Streams through a whole deployment for as long as one likes, and says what came of it: see `--help`. */
import { runProgram } from '../src/cli/program.ts';
import { HELP, parseOptions } from './soak/options.ts';
import { formatReport } from './soak/report.ts';
import { runSoak } from './soak/run.ts';

async function main(args: readonly string[]): Promise<string> {
  const options = parseOptions(args, process.env);
  if (!options) return HELP;
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
  const result = await runSoak(options, (line) => console.log(line), interrupted.signal);
  if (result.faults.length > 0) process.exitCode = 1;
  return formatReport(result);
}

if (import.meta.main) await runProgram(main);
