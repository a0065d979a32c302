import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../../tests/support/programs.ts';

export interface RequestLoad {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Each sends its next request as soon as it has its answer. */
  readonly connections: number;
  readonly seconds: number;
}

export interface RequestFigures {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** By kind; none is zero. */
  readonly errors: Readonly<Record<string, number>>;
}

/** Sends one POST request over and over. */
export async function runWrk(load: RequestLoad): Promise<RequestFigures> {
  const wrk = await findProgram('wrk', { debianPackage: 'wrk' });
  const headers = Object.entries({ 'content-type': 'application/json', ...load.headers }).flat();
  const size = ['-t', '1', '-c', String(load.connections), '-d', `${load.seconds}s`, '--timeout', '10s'];
  const script = ['-s', join(import.meta.dirname, 'post.lua')];
  const args = [...size, ...script, load.url, '--', load.body, ...headers];
  const { stdout } = await promisify(execFile)(wrk, args).catch((error: { readonly stderr?: string }) => {
    // The message of the failure itself quotes the command, and with it the key.
    throw new Error(`wrk failed: error: ${error.stderr?.trim()}`);
  });
  return parseFigures(stdout);
}

function parseFigures(output: string): RequestFigures {
  const line = /^figures (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk did not say how it went: ${output}`);
  const { requests, seconds, p50Ms, p99Ms, ...kinds } = JSON.parse(line);
  const errors = Object.entries<number>(kinds).filter(([, count]) => count > 0);
  return { requests, seconds, p50Ms, p99Ms, errors: Object.fromEntries(errors) };
}
