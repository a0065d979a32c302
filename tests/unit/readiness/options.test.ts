import { describe, expect, test } from '@jest/globals';
import { parseOptions } from '../../../scripts/readiness/options.ts';
import { UsageError } from '../../../src/cli/program.ts';

const KEY = 'llmgw_secret000000000000000000000000';
const URL_ARGS = ['--url', 'https://llm.example.org/'];
const parse = (args: readonly string[], env: NodeJS.ProcessEnv = { GATEWAY_KEY: KEY }) =>
  parseOptions(args, env);

describe('the options of the readiness check', () => {
  test('need no more than an address and a key', () => {
    expect(parse(URL_ARGS)).toEqual({
      url: 'https://llm.example.org',
      key: KEY,
      timeoutMs: 10_000,
      answerTimeoutMs: 180_000,
      folder: '.',
    });
    expect(parse([...URL_ARGS, '--key', 'llmgw_other'], {})?.key).toBe('llmgw_other');
  });

  test('keep a path before the API', () => {
    expect(parse(['--url', 'http://localhost:3000/llm/'])?.url).toBe('http://localhost:3000/llm');
  });

  test('may ask for help alone', () => {
    expect(parse(['--help'], {})).toBeUndefined();
  });

  test.each([
    ['no address', [], 'Give the address'],
    ['an address without protocol', ['--url', 'localhost:3000'], '--url is an address'],
    ['another protocol', ['--url', 'ftp://localhost'], '--url is an address'],
    ['credentials in the address', ['--url', 'http://me:word@localhost'], '--url is an address'],
    ['a query', ['--url', 'http://localhost/?key=x'], '--url is an address'],
    ['no replica', [...URL_ARGS, '--replicas', '0'], '--replicas is a whole number'],
    ['half a replica', [...URL_ARGS, '--replicas', '1.5'], '--replicas is a whole number'],
    ['an origin with a path', [...URL_ARGS, '--origin', 'https://a.example/x'], '--origin is an origin'],
    ['no time', [...URL_ARGS, '--timeout', 'soon'], '--timeout is a whole number'],
    ['an unknown option', [...URL_ARGS, '--fast'], "Unknown option '--fast'"],
  ])('%s is a misuse that is explained', (_name, args, message) => {
    expect(() => parse(args)).toThrow(UsageError);
    expect(() => parse(args)).toThrow(message);
  });

  test('a key is never repeated, also where it is in the wrong place', () => {
    const misuses: [readonly string[], NodeJS.ProcessEnv][] = [
      [[...URL_ARGS, KEY], {}],
      [URL_ARGS, {}],
      [URL_ARGS, { GATEWAY_KEY: `${KEY}\n` }],
      [[...URL_ARGS, `--${KEY}`], {}],
    ];
    for (const [args, env] of misuses) {
      let message = '';
      try {
        parse(args, env);
      } catch (error) {
        message = String(error);
      }
      expect(message).not.toBe('');
      expect(message).not.toContain(KEY);
    }
  });
});
