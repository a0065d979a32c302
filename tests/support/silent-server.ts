/** A server that answers no attempt at a connection, not even by refusing it, as the address of a machine that is gone. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

export interface SilentServer {
  /** As nginx lists it, e.g. `127.0.0.1:4001`. */
  readonly address: string;
  close(): Promise<void>;
}

/** Listens, and then never accepts anything. */
const LISTEN = `
  const { parentPort } = require('node:worker_threads');
  const server = require('node:net').createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
`;

/** More than the kernel holds for a server that is to have one connection waiting: it ignores all that come after them. */
const CONNECTIONS = 8;

export async function startSilentServer(): Promise<SilentServer> {
  const worker = new Worker(LISTEN, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  const sockets = Array.from({ length: CONNECTIONS }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) socket.on('error', () => undefined);
  await untilFull(sockets);
  return {
    address: `127.0.0.1:${port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await worker.terminate();
    },
  };
}

/** The kernel answers those that it holds in the order in which they come, and two is the least that it holds. */
async function untilFull([first, second]: readonly Socket[]): Promise<void> {
  for (const socket of [first, second]) if (socket?.connecting) await once(socket, 'connect');
}
