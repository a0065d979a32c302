/** The serving of GraphQL in a process of its own: what keeps it busy without end fails a test, and does not hang it. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Figures } from './graphql-child.ts';
import { BEARER } from './graphql-server.ts';

export interface GraphQLProcess {
  readonly url: string;
  readonly wsUrl: string;
  /** A POST with the key. Where there is no answer in time, the process is ended, and whatever else is asked of it fails. */
  post(body: unknown): Promise<Response>;
  /** How the process has fared since the last time, or since its start. */
  figures(): Promise<Figures>;
  close(): Promise<void>;
}

/** Long past anything that ends at all. */
const GIVE_UP_MS = 10_000;

export async function startGraphQLProcess(): Promise<GraphQLProcess> {
  const child = fork(join(import.meta.dirname, 'graphql-child.ts'), { execArgv: [] });
  const exited = once(child, 'exit');
  const [{ url, wsUrl }] = (await once(child, 'message')) as [{ url: string; wsUrl: string }];
  return {
    url,
    wsUrl,
    async post(body) {
      try {
        return await fetch(url, {
          method: 'POST',
          headers: { authorization: BEARER, 'content-type': 'application/json' },
          body: typeof body === 'string' ? body : JSON.stringify(body),
          signal: AbortSignal.timeout(GIVE_UP_MS),
        });
      } catch (error) {
        child.kill('SIGKILL');
        throw error;
      }
    },
    async figures() {
      const answer = once(child, 'message');
      child.send('figures');
      const [figures] = (await answer) as [Figures];
      return figures;
    },
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
