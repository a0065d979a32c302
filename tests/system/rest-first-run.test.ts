import { execFile } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../simulator/server.ts';
import { type GatewayProcess, startGateway } from '../support/gateway.ts';
import { createDataDir, type TestDirectory } from '../support/pglite.ts';
import { parseEvents } from '../support/sse.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Runs a printed command as it stands, in a shell, with the machine's own programs. */
async function paste(command: string): Promise<string> {
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules'));
  const env = { PATH: path.join(delimiter) };
  return (await promisify(execFile)('sh', ['-c', command], { cwd: ROOT, env })).stdout;
}

/** What the banner prints under a heading. */
async function printed(gateway: GatewayProcess, heading: string): Promise<string> {
  // The browser's address is the last thing of the banner, so the rest is there once it is.
  while (!gateway.output.some((line) => line.endsWith('/docs'))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  const at = gateway.output.findIndex((line) => line.trim() === `${heading}:`);
  return gateway.output[at + 1]?.trim() ?? '';
}

describe('a newcomer who has configured nothing', () => {
  let gateway: GatewayProcess;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway.stop());

  test('pastes the curl command and sees a stream', async () => {
    const { data } = parseEvents(await paste(await printed(gateway, 'curl')));
    expect(data.at(-1)).toBe('[DONE]');
    expect(data.length).toBeGreaterThan(3);
  });

  test('pastes the command with the OpenAI SDK and sees an answer', async () => {
    expect((await paste(await printed(gateway, 'OpenAI SDK'))).trim()).not.toBe('');
  });

  test('opens the address in a browser and sees the documentation', async () => {
    const page = await fetch(await printed(gateway, 'Browser'));
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    expect(await page.text()).toContain('/v1/chat/completions');
  });

  test('is told where no real model answers, in the banner, by the operations and in the answers', async () => {
    const health = await (await fetch(`${gateway.url}/health`)).json();
    const ready = await (await fetch(`${gateway.url}/ready`)).json();
    const answer = await paste(await printed(gateway, 'OpenAI SDK'));
    const isSimulated = health.upstream === 'simulator';
    expect([ready.upstream, ready.dependencies.upstream.state]).toEqual(
      isSimulated ? ['simulator', 'simulator'] : [undefined, 'up'],
    );
    expect(gateway.output.some((line) => line.includes('SIMULATED'))).toBe(isSimulated);
    expect(answer.includes('This is the simulator')).toBe(isSimulated);
  });
});

describe('a newcomer with an Ollama of other models', () => {
  let simulator: Simulator;
  let data: TestDirectory;
  let gateway: GatewayProcess;
  beforeAll(async () => {
    simulator = await startSimulator({
      models: [{ name: 'nomic-embed-text:latest' }, { name: 'phi3:mini' }],
    });
    data = createDataDir();
    gateway = await startGateway({ OLLAMA_URLS: simulator.url, DATA_DIR: data.dataDir });
  });
  afterAll(async () => {
    await gateway.stop();
    await simulator.close();
    data.remove();
  });

  test('gets commands for a model that is there and can chat', async () => {
    const { data } = parseEvents(await paste(await printed(gateway, 'curl')));
    expect(JSON.parse(data[0] ?? '')).toMatchObject({ model: 'phi3:mini' });
  });
});
