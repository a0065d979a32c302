import { systemClock } from '../clock.ts';
import { createKeys, type IssuedKey, type Keys } from '../core/keys.ts';
import type { ApiKey } from '../domain/principal.ts';
import { createKeyStore } from '../storage/keys.ts';
import { createLocalSignals, openSignals } from '../storage/signals.ts';
import { HELP, helpOf, type KeyCommand, parseKeyCommand } from './key-command.ts';
import { encodeKey, formatKey, formatKeys } from './key-format.ts';
import { runProgram, withDatabase } from './program.ts';

if (import.meta.main) await runProgram(main);

async function main(args: readonly string[]): Promise<string> {
  const command = parseKeyCommand(args, systemClock.now());
  if (command.name === 'help') return command.of ? helpOf(command.of) : HELP;
  return withDatabase(async ({ database, redisUrl }) => {
    // The running replicas have keys cached: through Redis they hear of a change at once.
    const signals =
      redisUrl === undefined ? createLocalSignals() : openSignals({ url: redisUrl, listening: false });
    try {
      const keys = createKeys({ store: createKeyStore(database), signals, clock: systemClock });
      return await carryOut(command, keys);
    } finally {
      await signals.close();
    }
  });
}

async function carryOut(command: Exclude<KeyCommand, { name: 'help' }>, keys: Keys): Promise<string> {
  const { json } = command;
  switch (command.name) {
    case 'create':
      return showIssued(await keys.create(command.draft), json);
    case 'rotate':
      return showIssued(await keys.rotate(command.keyId, { graceSeconds: command.graceSeconds }), json);
    case 'list':
      return showAll(await keys.list(command.page), json);
    case 'show':
      return show(await keys.get(command.keyId), json);
    case 'update':
      return show(await keys.update(command.keyId, command.edit), json);
    case 'revoke':
      return show(await keys.revoke(command.keyId), json);
  }
}

function show(key: ApiKey, json: boolean): string {
  const now = systemClock.now();
  return json ? toJson(encodeKey(key, now)) : formatKey(key, now);
}

function showAll(keys: readonly ApiKey[], json: boolean): string {
  const now = systemClock.now();
  return json ? toJson(keys.map((key) => encodeKey(key, now))) : formatKeys(keys, now);
}

function showIssued({ key, secret }: IssuedKey, json: boolean): string {
  if (json) return toJson({ ...encodeKey(key, systemClock.now()), secret });
  const once = 'This is the only time that the secret is shown: keep it now.';
  return `${show(key, json)}\n\n${secret}\n\n${once}`;
}

function toJson(value: unknown): string {
  return JSON.stringify(value, null, 2);
}
