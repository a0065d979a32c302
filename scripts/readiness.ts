/** Checks a running deployment from the outside, with nothing but its address and a key: see `--help`. */
import { runProgram } from '../src/cli/program.ts';
import { HELP, parseOptions } from './readiness/options.ts';
import { countStatuses, formatResult, writeReport } from './readiness/report.ts';
import { runChecks } from './readiness/run.ts';

const COLUMNS = 110;

async function main(args: readonly string[]): Promise<string> {
  const options = parseOptions(args, process.env);
  if (!options) return HELP;
  const startedAt = new Date();
  const columns = process.stdout.columns ?? COLUMNS;
  console.log(`Readiness of ${options.url}\n`);
  const results = await runChecks(options, (result) => console.log(formatResult(result, columns)));
  const path = writeReport(options, startedAt, results);
  const { passed, failed, skipped } = countStatuses(results);
  if (failed > 0) process.exitCode = 1;
  return `\n${passed} passed, ${failed} failed, ${skipped} skipped. Details: ${path}`;
}

if (import.meta.main) await runProgram(main);
