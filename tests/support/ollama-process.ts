import { join } from 'node:path';
import { eventually } from './eventually.ts';
import { findFreePort, type ServerProcess, startServer } from './programs.ts';

/** A simulated Ollama in a process of its own, so that it is not slowed down by those who read from it. */
export interface OllamaProcess {
  readonly url: string;
  /** Ends it at once, with whatever it was saying. */
  stop(): Promise<void>;
  /** Starts it again at the same address, after it was stopped. */
  restart(): Promise<void>;
}

const ROOT = join(import.meta.dirname, '../..');

/** @param parallel how many requests it works on at a time. */
export async function startOllama(parallel: number): Promise<OllamaProcess> {
  const port = await findFreePort();
  const url = `http://127.0.0.1:${port}`;
  const args = ['simulator/main.ts', '--port', `${port}`, '--load', '0', '--parallel', `${parallel}`];
  let server: ServerProcess | undefined;
  const ollama: OllamaProcess = {
    url,
    async stop() {
      await server?.stop('SIGKILL');
      server = undefined;
    },
    async restart() {
      server = await startServer(process.execPath, args, { cwd: ROOT });
      await eventually('the simulator', () =>
        fetch(`${url}/api/version`).then(
          ({ ok }) => ok,
          () => false,
        ),
      );
    },
  };
  await ollama.restart();
  return ollama;
}
