import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../tests/support/programs.ts';
import { freeUrl, startMeasured } from '../machine.ts';
import type { Contender } from './contender.ts';

/** One process that copies bytes: what the machine, its kernel and the load generator can do at best. */
export const nginx: Contender = {
  name: 'nginx',
  about: 'nginx: passes requests and answers through as they are, and looks into neither',
  own: false,
  async start({ upstreamUrl }) {
    const program = await findProgram('nginx', { debianPackage: 'nginx' });
    const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-nginx-'));
    const { port, url } = await freeUrl();
    const file = join(directory, 'nginx.conf');
    writeFileSync(file, configure(port, new URL(upstreamUrl).host, directory));
    const server = await startMeasured({
      command: [program, '-p', directory, '-c', file, '-e', join(directory, 'error.log')],
      url,
      ready: '/api/version',
    });
    return {
      url,
      pid: server.pid,
      startMs: server.startMs,
      headers: {},
      settled: async () => undefined,
      async stop() {
        await server.stop('SIGTERM');
        rmSync(directory, { recursive: true, force: true });
      },
    };
  },
};

function configure(port: number, upstream: string, directory: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${directory}/${name};`)
    .join('\n');
  return `
daemon off;
master_process off;
pid ${directory}/nginx.pid;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
${temporary}
  access_log off;
  keepalive_requests 1000000000;
  upstream models {
    server ${upstream};
    keepalive 2048;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }
  }
}
`;
}
