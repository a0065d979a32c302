import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Exchange } from './exchange.ts';
import type { Script } from './script.ts';

/** Answers that are not Ollama's: those of a proxy, of another server, or of someone hostile. @returns whether it did. */
export async function answerRaw(exchange: Exchange, script: Script): Promise<boolean> {
  const { response } = exchange;
  if (script.redirectTo !== undefined) {
    response.writeHead(307, { Location: script.redirectTo }).end();
    return true;
  }
  if (script.gzipBomb !== undefined) {
    response.writeHead(200, { 'Content-Type': 'application/x-ndjson', 'Content-Encoding': 'gzip' });
    const { signal } = exchange;
    await pipeline(Readable.from(blanks(script.gzipBomb)), createGzip(), response, { signal });
    return true;
  }
  if (script.rawStatus === undefined && script.rawBody === undefined && script.rawHeaders === undefined) {
    return false;
  }
  response.writeHead(script.rawStatus ?? 200, { ...script.rawHeaders });
  response.end(script.rawBody);
  return true;
}

const BLOCK = Buffer.alloc(2 ** 16, ' ');

function* blanks(bytes: number): Iterable<Buffer> {
  for (let left = bytes; left > 0; left -= BLOCK.length) {
    yield left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK;
  }
}
