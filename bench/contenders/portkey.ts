import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freeUrl, startMeasured } from '../machine.ts';
import type { Contender } from './contender.ts';

const PEERS = join(import.meta.dirname, '../peers');
const PROGRAM = join(PEERS, 'node_modules/@portkey-ai/gateway/build/start-server.js');

/** The best known open gateway that runs on Node. */
export const portkey: Contender = {
  name: 'portkey',
  about:
    "Portkey's gateway with its provider for Ollama, which asks /v1/chat/completions: parses and encodes; no key, limit or ledger",
  own: false,
  prepare: installPeers,
  async start(site) {
    const { port, url } = await freeUrl();
    const server = await startMeasured({
      command: [process.execPath, PROGRAM, `--port=${port}`, '--headless'],
      env: { NODE_ENV: 'production' },
      cwd: PEERS,
      url,
      ready: '/',
    });
    return {
      url,
      pid: server.pid,
      startMs: server.startMs,
      headers: { 'x-portkey-provider': 'ollama', 'x-portkey-custom-host': site.upstreamUrl },
      settled: async () => undefined,
      stop: () => server.stop(),
    };
  },
};

/** From a lock file of their own, so that nobody gets them who only wants the gateway. */
async function installPeers(): Promise<void> {
  if (existsSync(PROGRAM)) return;
  await promisify(execFile)('npm', ['ci', '--ignore-scripts'], { cwd: PEERS });
}
