import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ERRORS, type ErrorCode, GatewayError } from '../../src/domain/error.ts';
import { PUBLIC_PATHS } from '../../src/rest/auth.ts';
import { DEFAULT_LIMITS } from '../../src/schema/serving/limits.ts';
import { CLOSE_CODES } from '../support/close-codes.ts';
import { type RestServer, startRestServer } from '../support/rest-server.ts';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const troubleshooting = read('docs/troubleshooting.md');
const security = read('docs/security.md');

/** The rows of the table under a heading, each as its cells, the head left out. */
function table(page: string, heading: string): readonly (readonly string[])[] {
  const section = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| '));
  return rows.slice(2).map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll('`', '')),
  );
}

describe('docs/troubleshooting.md', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  let server: RestServer;
  beforeAll(async () => {
    server = await startRestServer();
  });
  afterAll(() => server.close());

  test.each(codes)('says what to do about %s, whose it is and how it is answered', async (code) => {
    server.gateway.script = () => {
      throw new GatewayError(code, 'It failed.');
    };
    const body = { model: 'llama3.1:8b', messages: [{ role: 'user', content: 'x' }] };
    const { status } = await server.post('/v1/chat/completions', body);
    const rows = table(troubleshooting, 'Error codes').filter(([name]) => name === code);
    expect(rows).toEqual([
      [code, String(status), ERRORS[code].owner, expect.stringMatching(/^\[.+\]\(#.+\)$/)],
    ]);
  });

  test('lists no other codes, and has each in the section that it points to', () => {
    const rows = table(troubleshooting, 'Error codes');
    expect(rows.map(([code]) => code)).toHaveLength(codes.length);
    for (const [code = '', , , link = ''] of rows) {
      const anchor = /\(#(.+)\)/.exec(link)?.[1];
      const section = troubleshooting
        .split(/^## /m)
        .find((text) => anchorOf(text.split('\n')[0] ?? '') === anchor);
      expect([code, section?.includes(`\`${code}\``)]).toEqual([code, true]);
    }
  });

  test('has every code that a WebSocket is closed with', () => {
    const listed = table(troubleshooting, 'A WebSocket is closed').map(([code]) => Number(code));
    expect(listed).toEqual([...CLOSE_CODES].sort());
  });
});

describe('docs/security.md', () => {
  test('names the paths that need no key', () => {
    const sentence = /but for the exact paths ([\s\S]+?)\.\s/.exec(security)?.[1] ?? '';
    const named = [...sentence.matchAll(/`([^`]+)`/g)].map(([, path]) => path);
    expect(named.sort()).toEqual([...PUBLIC_PATHS].sort());
  });

  test('has the limits of WebSockets as they are', () => {
    const { socket } = DEFAULT_LIMITS;
    const numbers = table(security, 'What one caller can take').map(([, limit]) => limit);
    expect(numbers).toEqual([
      `${socket.initTimeoutMs} ms, ${socket.bytesBeforeInit} bytes`,
      `${socket.operations}`,
      `${socket.perKey}, ${socket.perAddress}`,
      `${socket.messagesPerSecond}, ${socket.messageBurst}`,
      `${socket.pingMs} ms`,
      'MAX_BODY_BYTES',
    ]);
  });
});

describe('the packages that production runs', () => {
  interface Package {
    readonly dev?: boolean;
    readonly integrity?: string;
    readonly hasInstallScript?: boolean;
  }
  const { packages }: { readonly packages: Readonly<Record<string, Package>> } = JSON.parse(
    read('package-lock.json'),
  );
  const run = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true);

  test('have digests, and one install script, as docs/security.md says', () => {
    expect(run.filter(([, { integrity }]) => integrity === undefined)).toEqual([]);
    const scripts = run.filter(([, { hasInstallScript }]) => hasInstallScript === true);
    expect(scripts.map(([path]) => path)).toEqual(['node_modules/node']);
  });
});

describe('links', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', ...globSync('docs/**/*.md', { cwd: ROOT })];

  test.each(pages)('in %s lead somewhere', (page) => {
    // Code is no prose: what looks like a link in it is none.
    const prose = read(page).replace(/^```[\s\S]*?^```$/gm, '');
    const broken = [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^https?:/.test(target) && !leadsSomewhere(page, target));
    expect(broken).toEqual([]);
  });

  function leadsSomewhere(page: string, target: string): boolean {
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : relative(ROOT, join(ROOT, dirname(page), path));
    if (!existsSync(join(ROOT, file))) return false;
    return anchor === undefined || anchorsOf(read(file)).has(anchor);
  }
});

function anchorsOf(page: string): ReadonlySet<string> {
  const headings = page.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm);
  return new Set([...headings].map(([, heading = '']) => anchorOf(heading)));
}

/** As the usual viewers of Markdown make it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-');
}
