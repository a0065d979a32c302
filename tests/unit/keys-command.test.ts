import { describe, expect, test } from '@jest/globals';
import { helpOf, parseKeyCommand } from '../../src/cli/key-command.ts';
import { UsageError } from '../../src/cli/program.ts';

const NOW = Date.UTC(2026, 5, 1);
const parse = (...args: string[]) => parseKeyCommand(args, NOW);

describe('a keys command line', () => {
  test('creates with what it names, and with defaults for the rest', () => {
    expect(parse('create', '--name', 'x')).toEqual({
      name: 'create',
      draft: { name: 'x', scopes: ['chat', 'embeddings', 'models'], limits: {} },
      json: false,
    });
    expect(
      parse(
        'create',
        '--json',
        '--name=x',
        '--scopes',
        'chat',
        '--concurrent-requests',
        '3',
        '--expires',
        '12h',
      ),
    ).toEqual({
      name: 'create',
      draft: {
        ...{ name: 'x', scopes: ['chat'] },
        limits: { concurrentRequests: 3 },
        expiresAt: new Date(NOW + 12 * 3_600_000),
      },
      json: true,
    });
  });

  test('tells what it does not name from what it takes away', () => {
    const edit = { limits: { tokensPerMinute: null }, expiresAt: null, models: [], metadata: {} };
    expect(
      parse(
        ...['update', 'key_1', '--tokens-per-minute', 'none', '--expires', 'none'],
        ...['--models', 'all', '--metadata', 'none'],
      ),
    ).toEqual({ name: 'update', keyId: 'key_1', edit, json: false });
  });

  test('understands times of every unit, dates, and moments', () => {
    for (const [grace, graceSeconds] of [
      ['90s', 90],
      ['15m', 900],
      ['24h', 86_400],
      ['7d', 604_800],
    ] as const) {
      expect(parse('rotate', 'key_1', '--grace', grace)).toMatchObject({ graceSeconds });
    }
    for (const [expires, moment] of [
      ['2027-01-31', '2027-01-31T00:00:00Z'],
      ['2027-01-31T12:00Z', '2027-01-31T12:00:00Z'],
      ['2027-01-31T12:00:00+02:00', '2027-01-31T10:00:00Z'],
    ] as const) {
      expect(parse('update', 'key_1', '--expires', expires)).toMatchObject({
        edit: { expiresAt: new Date(moment) },
      });
    }
  });

  test('names like those of built-in properties are names like any other', () => {
    expect(parse('create', '--name', '__proto__', '--metadata', '__proto__=x')).toMatchObject({
      draft: { name: '__proto__', metadata: Object.fromEntries([['__proto__', 'x']]) },
    });
    expect(() => parse('create', '--name', 'x', '--__proto__', 'y')).toThrow(UsageError);
  });

  test.each([
    [['list', '--colour'], /^Unknown option '--colour'\. See: npm run keys -- list --help$/],
    [['create'], /^create needs --name\.$/],
    [['create', '--name'], /^Option '--name <value>' argument missing\. See/],
    [['create', 'x', '--name', 'y'], /^create takes options only\.$/],
    [['show'], /^show needs one key's id, as `list` shows it\.$/],
    [['revoke', 'a', 'b'], /^revoke needs one key's id/],
    [['update', 'key_1'], /^update needs at least one option to change\.$/],
    [['destroy'], /^There is no command "destroy": use create, list, show, update, rotate, revoke\.$/],
    [['constructor'], /^There is no command "constructor"/],
    [['list', '--limit', '-1'], /^Option '--limit' argument is ambiguous/],
    [['list', '--limit', 'ten'], /^--limit must be a whole number, not "ten"\.$/],
    [['create', '--name', 'x', '--expires', 'soon'], /^--expires must be a time such as/],
    [['create', '--name', 'x', '--metadata', 'bare'], /^--metadata must be NAME=VALUE, not "bare"\.$/],
    [['rotate', 'key_1', '--grace', '1 week'], /^--grace must be a time such as/],
  ])('%j is refused with a sentence', (args, sentence) => {
    expect(() => parse(...args)).toThrow(UsageError);
    expect(() => parse(...args)).toThrow(sentence);
  });

  test('asks for help on everything, or on one command', () => {
    expect(parse('--help')).toEqual({ name: 'help' });
    for (const command of ['create', 'list', 'show', 'update', 'rotate', 'revoke'] as const) {
      expect(parse(command, '--help')).toEqual({ name: 'help', of: command });
      expect(helpOf(command)).toMatch(
        new RegExp(`^Usage: npm run keys -- ${command}.*\\n\\n[A-Z].*--json`, 's'),
      );
    }
  });
});
