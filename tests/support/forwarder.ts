/** One address in front of several servers, as a proxy or a name that moves from one to the next in a fail-over. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface Forwarder {
  readonly port: number;
  /** Where connections lead that are made from now on. Those that are there stay where they are. */
  leadTo(url: string): void;
  close(): Promise<void>;
}

export async function startForwarder(target: string): Promise<Forwarder> {
  let { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const end of [near, far]) {
      sockets.add(end);
      end
        .on('error', () => undefined)
        .once('close', () => {
          near.destroy();
          far.destroy();
          sockets.delete(end);
        });
    }
    near.pipe(far).pipe(near);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    leadTo(url) {
      ({ hostname, port } = new URL(url));
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
