import { beforeEach, describe, expect, test } from '@jest/globals';
import {
  type ExecutionResult,
  subscribe as graphqlSubscribe,
  isInterfaceType,
  parse,
  validate,
} from 'graphql';
import { GatewayError } from '../../../src/domain/error.ts';
import { Results, subscribe } from '../../../src/schema/subscribe.ts';
import { content, finished, started } from '../../support/fake-gateway.ts';
import { createHarness, type SchemaHarness } from '../../support/schema.ts';
import { until } from '../../support/until.ts';

const FIELDS = '__typename completionId sequence ... on ChatContentDelta { choice content }';
const INPUT = { model: 'llama3.1:8b', messages: [{ role: 'USER', content: [{ text: 'Hello' }] }] };
const chat = (selection: string, rest = '') =>
  `subscription($input: ChatCompletionInput!) { chatCompletion(input: $input) { ${selection} } } ${rest}`;

let harness: SchemaHarness;
beforeEach(() => {
  harness = createHarness();
  harness.fake.script = async function* () {
    const logprobs = [{ token: 'b', logprob: -1, top: [] }];
    yield [started(), { type: 'reasoning', choice: 0, text: 'hm' }, content('a "quoted" text\n')];
    yield [content('b', 1), { type: 'content', choice: 0, text: 'c', logprobs }, finished()];
    throw new GatewayError('upstream_incomplete', 'Never seen.');
  };
});

async function results(run: typeof subscribe, source: string, variables = {}): Promise<ExecutionResult[]> {
  const document = parse(source);
  expect(validate(harness.schema, document)).toEqual([]);
  const variableValues = { input: INPUT, ...variables };
  const contextValue = createHarness().context({ gateway: { ...harness.gateway, chat: harness.fake.chat } });
  const result = await run({ schema: harness.schema, document, variableValues, contextValue });
  if (!(Symbol.asyncIterator in result)) return [result];
  const all: ExecutionResult[] = [];
  for await (const one of result) all.push(one);
  return all;
}

/** How often the executor asked which type an event is. */
function countExecutions(): () => number {
  const type = harness.schema.getType('ChatCompletionEvent');
  if (!isInterfaceType(type)) throw new Error('there is no such interface');
  const { resolveType } = type;
  let count = 0;
  type.resolveType = (...args) => {
    count++;
    return resolveType?.(...args);
  };
  return () => count;
}

describe('a subscription has the same results as with graphql-js', () => {
  test.each([
    ['plainly', chat(FIELDS)],
    [
      'with other names',
      chat('type: __typename n: sequence n2: sequence ... on ChatContentDelta { __proto__: content }'),
    ],
    ['with the root under another name', chat(FIELDS).replace('chatCompletion(', 'answer: chatCompletion(')],
    [
      'with fragments',
      chat(
        '...Base ...Base ... on ChatCompletionEvent { ... { ...Text } }',
        `
        fragment Base on ChatCompletionEvent { sequence __typename ...Text }
        fragment Text on ChatContentDelta { content choice sequence }
      `,
      ),
    ],
    [
      'with log probabilities',
      chat('sequence ... on ChatContentDelta { logprobs { token topLogprobs { token } } content }'),
    ],
    [
      'with every event',
      chat(`${FIELDS} ... on ChatReasoningDelta { reasoning } ... on ChatStarted { warnings backend }
      ... on ChatFinished { usage { totalTokens } choices { finishReason } }`),
    ],
    ['with nothing of an event', chat('... on ChatFinished { sequence }')],
  ])('%s', async (_what, source) => {
    const expected = await results(graphqlSubscribe as typeof subscribe, source);
    harness.fake.requests.length = 0;
    const actual = await results(subscribe, source);
    expect(JSON.stringify(withoutIds(actual))).toBe(JSON.stringify(withoutIds(expected)));
    expect(actual).toHaveLength(6);
  });

  test.each([true, false])('with conditions that are %s', async (on) => {
    const source = `subscription($input: ChatCompletionInput!, $on: Boolean!) {
      chatCompletion(input: $input) { sequence @include(if: $on) ... on ChatContentDelta @skip(if: $on) { content } }
    }`;
    const expected = await results(graphqlSubscribe as typeof subscribe, source, { on });
    expect(JSON.stringify(await results(subscribe, source, { on }))).toBe(JSON.stringify(expected));
  });

  test.each([true, false])(
    'with variables for parts of the input and for conditions, which are %s',
    async (on) => {
      const source = `
      subscription($model: String!, $text: String!, $stop: [String!], $schema: JSON!, $tools: [ToolInput!], $on: Boolean!) {
        chatCompletion(input: {
          model: $model, stop: $stop, tools: $tools, responseFormat: { jsonSchema: { name: "a", schema: { a: $schema } } }
          messages: [{ role: SYSTEM, content: [{ text: $text }] }, { role: USER, content: { text: $text } }]
        }) { ...Parts }
      }
      fragment Parts on ChatCompletionEvent { __typename sequence @include(if: $on) }
    `;
      const tools = [{ name: 'clock', parameters: { type: 'object' } }];
      const variables = { model: 'llama3.1:8b', text: 'Hello', stop: ['.'], schema: { b: 1 }, tools, on };
      const expected = await results(graphqlSubscribe as typeof subscribe, source, variables);
      expect(await results(subscribe, source, variables)).toEqual(expected);
      expect(expected).toHaveLength(6);
      expect(harness.fake.requests[1]).toEqual(harness.fake.requests[0]);
    },
  );

  test('where variables are wrong, and for another field', async () => {
    const wrong = { input: { ...INPUT, model: 1 } };
    const expected = await results(graphqlSubscribe as typeof subscribe, chat(FIELDS), wrong);
    expect(await results(subscribe, chat(FIELDS), wrong)).toEqual(expected);
    const refused = await results(subscribe, 'subscription { viewerLimits(everyMs: 1) { mode } }');
    expect(refused[0]?.errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_REQUEST' });
  });

  /** Each exchange of the fake gateway has an id of its own. */
  function withoutIds(all: readonly ExecutionResult[]): unknown {
    return JSON.parse(JSON.stringify(all).replaceAll(/"completionId":"[^"]+"/g, '"completionId":"id"'));
  }
});

describe('deltas', () => {
  test('do not pass through the executor where they are only shown', async () => {
    const executions = countExecutions();
    await results(subscribe, chat(FIELDS));
    // The beginning and the end.
    expect(executions()).toBe(2);
  });

  test('do where there is more to do', async () => {
    const executions = countExecutions();
    await results(subscribe, chat('sequence ... on ChatContentDelta { logprobs { token } }'));
    expect(executions()).toBe(5);
  });

  test('are worked out in time linear in the document, however often fragments are spread', async () => {
    const levels = 40;
    let fragments = 'fragment F0 on ChatCompletionEvent { sequence }';
    for (let n = 1; n <= levels; n++)
      fragments += ` fragment F${n} on ChatCompletionEvent { ...F${n - 1} ...F${n - 1} }`;
    const all = await results(subscribe, chat(`...F${levels}`, fragments));
    expect(all[0]).toEqual({ data: { chatCompletion: { sequence: 0 } } });
  });
});

test('leaving ends the exchange at once, while the next event is awaited', async () => {
  harness.fake.script = async function* (_request, signal) {
    yield [started()];
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  const document = parse(chat(FIELDS));
  const args = {
    schema: harness.schema,
    document,
    variableValues: { input: INPUT },
    contextValue: harness.context(),
  };
  const stream = await subscribe(args);
  if (!(Symbol.asyncIterator in stream)) throw new Error('refused');
  await stream.next();
  const pending = stream.next();
  await stream.return();
  expect(await pending).toMatchObject({ done: true });
  expect(harness.fake.running()).toBe(0);
});

test.each([
  [
    'at once',
    () => {
      throw new Error('broken');
    },
  ],
  ['later', () => Promise.reject(new Error('broken'))],
])(
  'an execution that fails %s leaves the source, and is what there is instead of a result',
  async (_when, execute) => {
    let left = false;
    const source = (async function* () {
      try {
        for (;;) yield 'event';
      } finally {
        left = true;
      }
    })();
    await expect(new Results(source, execute).next()).rejects.toThrow('broken');
    await until(() => left);
  },
);
