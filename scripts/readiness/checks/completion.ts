import { chatCompletion, chatCompletionChunk } from '../../../src/rest/openai/response-schema.ts';
import { describeAnswer, findMismatch } from '../answers.ts';
import { type Check, failed, judge } from '../check.ts';
import { readAll, type Streamed } from '../client.ts';
import { parseJson, valueAt } from '../json.ts';

const MESSAGES = [{ role: 'user', content: 'Count from one to ten, in words.' }];
const MAX_TOKENS = 32;
/** Pieces that come together although it took this long to make them were held back on the way. */
const HELD_BACK_MS = 1000;
const FEW = 4;

/** Whether a model answers, in one piece and as a stream. */
export const completion: Check = {
  name: 'completion',
  lookAt: 'the logs of the gateway and of Ollama; for a stream that comes at once, proxy_buffering in nginx',
  needsKey: true,
  asksModel: true,
  async run({ client, options, found }) {
    const { model } = found;
    if (model === undefined) return failed('there is no model to ask', 'the check of models');
    const timeoutMs = options.answerTimeoutMs;
    const body = { model, messages: MESSAGES, max_tokens: MAX_TOKENS };
    const whole = await client.ask('/v1/chat/completions', { body, timeoutMs });
    const mismatch = findMismatch(whole, 200, chatCompletion);
    if (mismatch) return failed(`in one piece: ${mismatch}`);
    found.answeredRequest = whole.header('x-request-id');
    const tokens = chatCompletion.parse(whole.json).usage?.total_tokens ?? 'unknown';

    const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
    const begun = performance.now();
    const stream = await readStream(
      await client.stream('/v1/chat/completions', { body: streamed, timeoutMs }),
    );
    const ms = Math.round(performance.now() - begun);
    const problem =
      stream.problem ??
      (stream.reads === 1 && stream.deltas > FEW && ms > HELD_BACK_MS
        ? `all ${stream.deltas} pieces came at once, after ${ms} ms`
        : undefined);
    return judge(
      problem ? [`as a stream: ${problem}`] : [],
      `${model} answered in ${Math.round(whole.ms)} ms with ${tokens} tokens, and as a stream of ${stream.deltas} pieces in ${ms} ms`,
    );
  },
};

interface StreamReport {
  readonly problem?: string;
  /** Events with text of the model. */
  readonly deltas: number;
  /** How many reads brought them. */
  readonly reads: number;
}

async function readStream({ status, pieces }: Streamed): Promise<StreamReport> {
  if (status !== 200) {
    const answer = { status, json: parseJson(await readAll(pieces)) };
    return { problem: describeAnswer(answer), deltas: 0, reads: 0 };
  }
  let deltas = 0;
  let reads = 0;
  let rest = '';
  let last = '';
  let hasUsage = false;
  for await (const piece of pieces) {
    const frames = (rest + piece).split('\n\n');
    rest = frames.pop() ?? '';
    const before = deltas;
    for (const frame of frames) {
      if (!frame.startsWith('data: ')) continue;
      if (last === '[DONE]') return { problem: 'something comes after [DONE]', deltas, reads };
      last = frame.slice('data: '.length);
      if (last === '[DONE]') continue;
      const { success, data } = chatCompletionChunk.safeParse(parseJson(last));
      if (!success) return { problem: `an event is wrong: ${describeEvent(last)}`, deltas, reads };
      const delta = data.choices[0]?.delta;
      if (delta?.content || delta?.reasoning_content) deltas++;
      if (data.usage) hasUsage = true;
    }
    if (deltas > before) reads++;
  }
  if (last !== '[DONE]') return { problem: 'it was cut: [DONE] is missing', deltas, reads };
  if (deltas === 0) return { problem: 'it has no text', deltas, reads };
  return hasUsage ? { deltas, reads } : { problem: 'the usage that was asked for is missing', deltas, reads };
}

/** An error of the gateway's has a message that says what happened. */
function describeEvent(json: string): string {
  return String(valueAt(parseJson(json), 'error', 'message') ?? 'it is no chunk');
}
