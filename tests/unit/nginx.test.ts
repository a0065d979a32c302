import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { VARIABLES } from '../../src/variables.ts';
import { readComposeFile } from '../support/compose-file.ts';

/** That what nginx's files say fits what the gateway does by default. That nginx does as they say: `tests/system`. */

const FILES = join(import.meta.dirname, '../../nginx');
const text = readdirSync(FILES, { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.(conf|template)$/.test(name) && !name.startsWith('conf.d'))
  .map((name) => readFileSync(join(FILES, name), 'utf8'))
  .join('\n')
  .replaceAll(/^\s*#.*$/gm, '');

/** The value of a directive that is set once. */
function settingOf(directive: string): string {
  const values = [...text.matchAll(new RegExp(`^\\s*${directive} ([^;]*);`, 'gm'))].map(
    ([, value = '']) => value,
  );
  expect(values).toHaveLength(1);
  return values[0] ?? '';
}

const MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
function milliseconds(directive: string): number {
  const [, count, unit] = /^(\d+)(ms|[smh])$/.exec(settingOf(directive)) ?? [];
  return Number(count) * MS[unit as keyof typeof MS];
}

describe('nginx', () => {
  test('takes bodies that are as large as the gateway takes them', () => {
    const [, mebibytes] = /^(\d+)m$/.exec(settingOf('client_max_body_size')) ?? [];
    expect(Number(mebibytes) * 2 ** 20).toBe(VARIABLES.maxBodyBytes.fallback);
  });

  test('waits for an answer until the gateway has given it up', () => {
    const { firstEventMs, betweenEventsMs, totalMs } = VARIABLES;
    const longest = Math.max(firstEventMs.fallback, betweenEventsMs.fallback, totalMs.fallback);
    expect(milliseconds('proxy_read_timeout')).toBeGreaterThan(longest);
  });

  test('lets the longest answer end after a reload, and nothing go on for ever', () => {
    expect(milliseconds('worker_shutdown_timeout')).toBeGreaterThan(VARIABLES.totalMs.fallback);
  });

  test('leaves it to the gateway to cut a client that does not read', () => {
    expect(milliseconds('send_timeout')).toBeGreaterThan(VARIABLES.clientStallMs.fallback);
  });

  test('leaves a replica out that cannot be reached, for a second and not for nginx’s ten', () => {
    const servers = readFileSync(join(FILES, 'upstreams/gateway.conf'), 'utf8').match(/^server .*$/gm);
    const parameters = 'max_fails=1 fail_timeout=1s';
    expect(servers).toEqual([1, 2, 3].map((number) => `server gateway-${number}:3000 ${parameters};`));
  });

  test('spends less on a replica that cannot be reached than the time for which it is then left out', () => {
    expect(milliseconds('proxy_connect_timeout')).toBeLessThan(1000);
  });

  test('of the version that Compose has keeps a connection that was just used over a reload', () => {
    const image = readComposeFile().services['nginx']?.image ?? '';
    const versions = readdirSync(join(FILES, 'versions'));
    expect(versions).toEqual([`${image.split(':')[1]}.conf`]);
    expect(milliseconds('keepalive_min_timeout')).toBeGreaterThan(0);
  });

  test('starts as many processes on any machine', () => {
    expect(settingOf('worker_processes')).toMatch(/^\d$/);
  });

  test('needs no privileges: it listens above port 1023, and writes below /tmp and to its output', () => {
    const ports = [...text.matchAll(/^\s*listen (\d+)/gm)].map(([, port]) => Number(port));
    expect(new Set(ports)).toEqual(new Set([3000, 3443]));
    const written = [...text.matchAll(/^\s*(?:pid|access_log|error_log|\w+_temp_path) ([^ ;]+)/gm)];
    expect(written.length).toBeGreaterThan(5);
    for (const [, path] of written) expect(path).toMatch(/^(\/tmp\/|\/dev\/stdout$|stderr$|off$)/);
  });
});
