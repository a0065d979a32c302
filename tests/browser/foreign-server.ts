import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A web server of somebody else's, whose pages use the gateway: on one port, but by two names, which are two origins. */
export interface ForeignServer {
  /** E.g. `http://127.0.0.1:4000`. */
  readonly origin: string;
  /** The same server by its other name, e.g. `http://localhost:4000`. */
  readonly otherOrigin: string;
  /** The paths that it has been asked for. */
  readonly requested: readonly string[];
  close(): Promise<void>;
}

/** What its pages import, file by file as the packages bring it: `/openai/index.mjs`. */
const LIBRARIES = /^\/(graphql-ws|openai)\/((?:[\w-]+\/)*[\w.-]+\.m?js)$/;
const { resolve } = createRequire(import.meta.url);
const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';

export async function startForeignServer(): Promise<ForeignServer> {
  const requested: string[] = [];
  const server = createServer((req, res) => {
    const path = req.url ?? '';
    requested.push(path);
    const send = (type: string, body: string | Buffer) =>
      res.writeHead(200, { 'content-type': type }).end(body);
    const [, library, file] = LIBRARIES.exec(path) ?? [];
    if (library && file) send(SCRIPT, readFileSync(join(dirname(resolve(library)), file)));
    else if (path === '/page.js') send(SCRIPT, readFileSync(join(import.meta.dirname, 'foreign-page.js')));
    else send(HTML, '<!doctype html><title>A page of another origin</title><link rel="icon" href="data:,">');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    origin: `http://127.0.0.1:${port}`,
    otherOrigin: `http://localhost:${port}`,
    requested,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
