import { expect, test } from '@jest/globals';
import { type Breakers, createBreakers } from '../../../src/core/breakers.ts';
import { createTestClock, type TestClock } from '../../support/clock.ts';
import { recordTelemetry } from '../../support/provider.ts';

const MODEL = 'llama3.1:8b';

function create(): { breakers: Breakers; clock: TestClock; said: () => readonly string[] } {
  const clock = createTestClock();
  const telemetry = recordTelemetry();
  const breakers = createBreakers({ clock, telemetry });
  return { breakers, clock, said: () => telemetry.lines.map(({ message }) => message) };
}

function fail(breakers: Breakers, times: number, model = MODEL): void {
  for (let n = 0; n < times; n++) breakers.begin('ollama-1', model).failed();
}

test('three failures in a row open it, for that backend and that model only, and are told once', () => {
  const { breakers, said } = create();
  fail(breakers, 2);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
  fail(breakers, 3);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(true);
  expect(breakers.isOpen('ollama-1', 'mistral:7b')).toBe(false);
  expect(breakers.isOpen('ollama-2', MODEL)).toBe(false);
  expect(said()).toEqual(['a backend keeps failing; others are asked first']);
});

test('a success between them keeps it closed, and a request that was left says nothing', () => {
  const { breakers } = create();
  fail(breakers, 2);
  breakers.begin('ollama-1', MODEL);
  breakers.begin('ollama-1', MODEL).succeeded();
  fail(breakers, 2);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
});

test('after five seconds one request tries, and meanwhile others are sent elsewhere', async () => {
  const { breakers, clock, said } = create();
  fail(breakers, 3);
  await clock.advance(4_999);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(true);
  await clock.advance(1);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
  const trial = breakers.begin('ollama-1', MODEL);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(true);
  trial.succeeded();
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
  expect(said().at(-1)).toBe('a backend answers again');
});

test('a trial that is left leaves room for another', async () => {
  const { breakers, clock } = create();
  fail(breakers, 3);
  await clock.advance(5_000);
  breakers.begin('ollama-1', MODEL);
  await clock.advance(5_000);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
});

test('each trial that fails doubles the pause, up to a minute; other failures do not', async () => {
  const { breakers, clock } = create();
  fail(breakers, 50);
  for (const seconds of [5, 10, 20, 40, 60, 60]) {
    fail(breakers, 2);
    await clock.advance(seconds * 1000 - 1);
    expect(breakers.isOpen('ollama-1', MODEL)).toBe(true);
    await clock.advance(1);
    expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
    fail(breakers, 1);
  }
});

test('it is forgotten rather than kept for more pairs than any fleet has', () => {
  const { breakers } = create();
  fail(breakers, 3);
  for (let n = 0; n < 1_000; n++) fail(breakers, 1, `model-${n}`);
  expect(breakers.isOpen('ollama-1', MODEL)).toBe(false);
});
