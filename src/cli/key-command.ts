import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import type { KeyDraft, KeyEdit } from '../core/key-rules.ts';
import { SCOPES } from '../domain/principal.ts';
import { UsageError } from './program.ts';

/** What a command line asks for. */
export type KeyCommand =
  | { readonly name: 'help'; readonly of?: CommandName }
  | { readonly name: 'create'; readonly draft: KeyDraft; readonly json: boolean }
  | {
      readonly name: 'list';
      readonly page: { readonly limit?: number; readonly after?: string };
      readonly json: boolean;
    }
  | { readonly name: 'show' | 'revoke'; readonly keyId: string; readonly json: boolean }
  | { readonly name: 'update'; readonly keyId: string; readonly edit: KeyEdit; readonly json: boolean }
  | {
      readonly name: 'rotate';
      readonly keyId: string;
      readonly graceSeconds: number;
      readonly json: boolean;
    };

export type CommandName = Exclude<KeyCommand['name'], 'help'>;

interface Command {
  readonly usage: string;
  readonly about: string;
  readonly options: readonly OptionName[];
}

/** Every option with a value: what to write for it, and what it means. */
const OPTIONS = {
  name: ['TEXT', 'what the key is for'],
  scopes: ['A,B', `some of ${SCOPES.join(', ')}`],
  models: ['A,B', 'the models it may use, * being any characters; `all`'],
  'requests-per-minute': ['N', 'limit, or `none`'],
  'tokens-per-minute': ['N', 'limit, or `none`'],
  'concurrent-requests': ['N', 'limit, or `none`'],
  expires: [
    'WHEN',
    'a time such as 2027-01-31 or 2027-01-31T12:00Z, a duration such as 30d or 12h, or `none`',
  ],
  metadata: ['K=V', 'a note on the key; may be repeated, and replaces all earlier notes; `none`'],
  grace: [
    'TIME',
    'how long the earlier secrets stay valid, such as 90s, 15m, 24h or 7d; not at all by default',
  ],
  limit: ['N', 'how many, 1 to 200; 50 by default'],
  after: ['ID', 'go on after this key'],
} as const;
type OptionName = keyof typeof OPTIONS;

const FIELDS = [
  'name',
  'scopes',
  'models',
  'requests-per-minute',
  'tokens-per-minute',
  'concurrent-requests',
  'expires',
  'metadata',
] as const;

const DEFAULT_SCOPES = ['chat', 'embeddings', 'models'];

const COMMANDS: Readonly<Record<CommandName, Command>> = {
  create: {
    usage: 'create --name TEXT [options]',
    about: `Creates a key and shows its secret, once. Scopes are ${DEFAULT_SCOPES.join(', ')} unless told otherwise.`,
    options: FIELDS,
  },
  list: { usage: 'list [options]', about: 'Lists keys, newest first.', options: ['limit', 'after'] },
  show: { usage: 'show ID', about: 'Shows one key.', options: [] },
  update: { usage: 'update ID [options]', about: 'Changes what the options name.', options: FIELDS },
  rotate: {
    usage: 'rotate ID [--grace TIME]',
    about: 'Gives a key another secret and shows it, once.',
    options: ['grace'],
  },
  revoke: { usage: 'revoke ID', about: 'Ends a key, for good.', options: [] },
};

export const HELP = `Usage: npm run keys -- COMMAND [options]

${Object.values(COMMANDS)
  .map(({ usage, about }) => `  ${usage.padEnd(30)} ${about}`)
  .join('\n')}

Every command takes --json, and --help, which shows its options. For output without npm's own lines: npm run -s keys.
The keys are those of the database of DATABASE_URL, or of the embedded one in DATA_DIR.`;

export function helpOf(name: CommandName): string {
  const { usage, about, options } = COMMANDS[name];
  const lines = options.map((option) => {
    const [value, meaning] = OPTIONS[option];
    return `  ${`--${option} ${value}`.padEnd(26)} ${meaning}`;
  });
  const json = `  ${'--json'.padEnd(26)} print JSON`;
  return `Usage: npm run keys -- ${usage}\n\n${about}\n\n${[...lines, json].join('\n')}`;
}

/**
 * @param now milliseconds since 1970, from which durations count.
 * @throws UsageError
 */
export function parseKeyCommand(args: readonly string[], now: number): KeyCommand {
  const [name, ...rest] = args;
  if (name === undefined) throw new UsageError(HELP);
  if (name === '--help' || name === '-h' || name === 'help') return { name: 'help' };
  if (!isCommandName(name)) {
    throw new UsageError(
      `There is no command ${JSON.stringify(name)}: use ${Object.keys(COMMANDS).join(', ')}.`,
    );
  }
  const { values, lists, positionals, help, json } = readOptions(name, rest);
  if (help) return { name: 'help', of: name };
  const keyId = takeKeyId(name, positionals);
  switch (name) {
    case 'create': {
      if (values.name === undefined) throw new UsageError('create needs --name.');
      const { limits, expiresAt, ...fields } = parseFields(values, lists, now);
      return {
        name,
        draft: {
          ...{ name: values.name, scopes: DEFAULT_SCOPES },
          ...fields,
          limits: withoutNulls(limits ?? {}),
          ...(expiresAt && { expiresAt }),
        },
        json,
      };
    }
    case 'update': {
      const edit = parseFields(values, lists, now);
      if (Object.keys(edit).length === 0) throw new UsageError('update needs at least one option to change.');
      return { name, keyId, edit, json };
    }
    case 'list': {
      const limit = values.limit === undefined ? undefined : parseNumber('limit', values.limit);
      const page = {
        ...(limit !== undefined && { limit }),
        ...(values.after !== undefined && { after: values.after }),
      };
      return { name, page, json };
    }
    case 'rotate': {
      const graceSeconds = values.grace === undefined ? 0 : parseDuration('grace', values.grace) / 1000;
      return { name, keyId, graceSeconds, json };
    }
    case 'show':
    case 'revoke':
      return { name, keyId, json };
  }
}

type Values = { readonly [Name in OptionName]?: string };

function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

function readOptions(name: CommandName, args: readonly string[]) {
  const options: ParseArgsOptionsConfig = {
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  };
  for (const option of COMMANDS[name].options)
    options[option] = { type: 'string', multiple: option === 'metadata' };
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    const { json = false, help = false, metadata, ...rest } = values;
    const lists = { metadata: metadata as readonly string[] | undefined };
    return { values: rest as Values, lists, positionals, json: json === true, help: help === true };
  } catch (error) {
    // What follows the library's first sentence is about values that begin with a dash, of which there are none here.
    const message = typeof error === 'object' && error && 'message' in error ? String(error.message) : '';
    const [sentence] = message.split(/\.\s/);
    throw new UsageError(`${sentence}. See: npm run keys -- ${name} --help`);
  }
}

function takeKeyId(name: CommandName, positionals: readonly string[]): string {
  const wanted = name === 'create' || name === 'list' ? 0 : 1;
  if (positionals.length === wanted) return positionals[0] ?? '';
  const needs = wanted === 0 ? 'takes options only' : "needs one key's id, as `list` shows it";
  throw new UsageError(`${name} ${needs}.`);
}

function parseFields(
  values: Values,
  { metadata }: { readonly metadata: readonly string[] | undefined },
  now: number,
): KeyEdit {
  const limits = {
    ...limitOf('requestsPerMinute', 'requests-per-minute', values),
    ...limitOf('tokensPerMinute', 'tokens-per-minute', values),
    ...limitOf('concurrentRequests', 'concurrent-requests', values),
  };
  return {
    ...(values.name !== undefined && { name: values.name }),
    ...(values.scopes !== undefined && { scopes: parseList(values.scopes) }),
    ...(values.models !== undefined && { models: values.models === 'all' ? [] : parseList(values.models) }),
    ...(Object.keys(limits).length > 0 && { limits }),
    ...(values.expires !== undefined && { expiresAt: parseExpiry(values.expires, now) }),
    ...(metadata && { metadata: parseMetadata(metadata) }),
  };
}

function limitOf(limit: keyof NonNullable<KeyEdit['limits']>, option: OptionName, values: Values) {
  const text = values[option];
  if (text === undefined) return {};
  return { [limit]: text === 'none' ? null : parseNumber(option, text) };
}

function withoutNulls(limits: NonNullable<KeyEdit['limits']>): NonNullable<KeyDraft['limits']> {
  return Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== null));
}

function parseList(text: string): readonly string[] {
  return text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

function parseNumber(option: OptionName, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError(`--${option} must be a whole number, not ${JSON.stringify(text)}.`);
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @returns milliseconds. */
function parseDuration(option: OptionName, text: string): number {
  const [, count, unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const unitMs = UNITS_MS[unit];
  if (unitMs !== undefined) return Number(count) * unitMs;
  throw new UsageError(
    `--${option} must be a time such as 90s, 15m, 24h or 7d, not ${JSON.stringify(text)}.`,
  );
}

/** @returns null for `none`. */
function parseExpiry(text: string, now: number): Date | null {
  if (text === 'none') return null;
  if (/^\d+[smhd]$/.test(text)) return new Date(now + parseDuration('expires', text));
  const time = new Date(text);
  if (/^\d{4}-\d{2}-\d{2}/.test(text) && !Number.isNaN(time.getTime())) return time;
  throw new UsageError(`--expires must be ${OPTIONS.expires[1]}, not ${JSON.stringify(text)}.`);
}

function parseMetadata(entries: readonly string[]): Readonly<Record<string, string>> {
  if (entries.length === 1 && entries[0] === 'none') return {};
  const pairs = entries.map((entry) => {
    const equals = entry.indexOf('=');
    if (equals <= 0) throw new UsageError(`--metadata must be NAME=VALUE, not ${JSON.stringify(entry)}.`);
    return [entry.slice(0, equals), entry.slice(equals + 1)];
  });
  return Object.fromEntries(pairs);
}
