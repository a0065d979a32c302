/** A look into a process of Node's, through its debugger: for what no request can tell. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { eventually } from './eventually.ts';
import type { GatewayProcess } from './gateway.ts';

/** What to start the process with. */
export const INSPECTABLE = { NODE_OPTIONS: '--inspect=127.0.0.1:0' } as const;

export interface Inspector {
  /** Bytes of live objects: all garbage is collected first. */
  liveBytes(): Promise<number>;
  /** How many timers, sockets and requests keep the process alive. */
  activeResources(): Promise<number>;
  close(): Promise<void>;
}

export async function inspect({ output }: GatewayProcess): Promise<Inspector> {
  const line = await eventually('the debugger', () => output.find((text) => text.startsWith('Debugger')));
  const socket = new WebSocket(line.replace(/^.*(?=ws:)/, ''));
  await once(socket, 'open');
  let calls = 0;
  const call = async (method: string, params: object = {}): Promise<{ result?: { value: number } }> => {
    const id = ++calls;
    socket.send(JSON.stringify({ id, method, params }));
    for (;;) {
      const [data] = await once(socket, 'message');
      const message = JSON.parse(String(data));
      if (message.id === id) return message.result;
    }
  };
  const evaluate = async (expression: string) => {
    const { result } = await call('Runtime.evaluate', { expression });
    if (typeof result?.value !== 'number') throw new Error(`${expression} is no number`);
    return result.value;
  };
  return {
    async liveBytes() {
      // What finalizers let go of is collected the second time.
      for (let round = 0; round < 2; round++) await call('HeapProfiler.collectGarbage');
      return await evaluate('process.memoryUsage().heapUsed + process.memoryUsage().external');
    },
    activeResources: () => evaluate('process.getActiveResourcesInfo().length'),
    async close() {
      socket.close();
      await once(socket, 'close');
    },
  };
}
