import { GatewayError } from '../../domain/error.ts';
import type { ChatEvent, Finished, Started, TokenLogprob } from '../../domain/event.ts';
import type { ChatResult, ChoiceResult } from '../../domain/result.ts';
import { sumUsage, type Timings } from '../../domain/usage.ts';
import { encodeJson } from '../../http/event-stream.ts';
import type { StreamEncoder } from '../answer.ts';
import { inTermsOf } from '../errors.ts';
import { DONE, frame } from '../sse.ts';
import { encodeEnding, encodeFinishReason, encodeTimings, encodeUsage, type Stamp } from './response.ts';
import { type ChunkOptions, encodeFailure, incomplete } from './stream.ts';

/** What is called otherwise than in a chat, see `inTermsOf`: the prompt is a message to the core. */
export const COMPLETION_FIELDS = { messages: 'prompt' };

/** An event of the answer to one of several prompts. */
export type PromptEvent = ChatEvent & { readonly prompt: number };

export interface CompletionOptions extends Stamp {
  /** For each prompt. Choices are counted through: `prompt * choices + choice`. */
  readonly choices: number;
  /** What each prompt's answers start with. */
  readonly echoes: readonly string[];
}

/** @param results one per prompt, in their order. */
export function encodeCompletion(
  { id, created, choices, echoes }: CompletionOptions,
  results: readonly ChatResult[],
) {
  return {
    id,
    object: 'text_completion' as const,
    created,
    model: results[0]?.model ?? '',
    choices: results.flatMap((result, prompt) =>
      result.choices.map((choice, index) => ({
        text: `${echoes[prompt] ?? ''}${choice.text}`,
        index: prompt * choices + index,
        logprobs: encodeLogprobs(choice.logprobs, 0),
        finish_reason: encodeReason(choice.finish),
      })),
    ),
    usage: encodeUsage(sumUsage(results.map((result) => result.usage))),
    timings: encodeTimings(spanOf(results.map((result) => result.timings))),
  };
}

/** Events as `text_completion` frames, for any number of prompts. */
export function createCompletionEncoder({
  id,
  created,
  choices,
  echoes,
  includeUsage,
  warnings,
}: CompletionOptions & Pick<ChunkOptions, 'includeUsage' | 'warnings'>): StreamEncoder<PromptEvent> {
  const finished: Finished[] = [];
  const lengths: number[] = [];
  const warned = [...warnings];
  let opening = '';
  const usage = includeUsage ? ',"usage":null' : '';

  const chunk = (index: number, text: string, logprobs: string, reason: string, extra = '') =>
    frame(
      `${opening}{"text":${encodeJson(text)},"index":${index},"logprobs":${logprobs},"finish_reason":${reason}}]${usage}${extra}}`,
    );

  const start = ({ prompt, model, warnings }: Started & { readonly prompt: number }) => {
    warned.push(...warnings);
    opening = `{"id":${encodeJson(id)},"object":"text_completion","created":${created},"model":${encodeJson(model)},"choices":[`;
    const echo = echoes[prompt] ?? '';
    if (echo === '') return '';
    let frames = '';
    for (let choice = 0; choice < choices; choice++) {
      frames += chunk(prompt * choices + choice, echo, 'null', 'null');
    }
    return frames;
  };

  const finish = (prompt: number, event: Finished) => {
    finished.push(event);
    const isLastPrompt = finished.length === echoes.length;
    const ending = `,${encodeEnding(spanOf(finished.map((end) => end.timings)), warned)}`;
    let frames = '';
    for (const [choice, reason] of event.reasons.entries()) {
      const isLast = isLastPrompt && !includeUsage && choice === event.reasons.length - 1;
      const index = prompt * choices + choice;
      frames += chunk(index, '', 'null', `"${encodeReason(reason)}"`, isLast ? ending : '');
    }
    if (!isLastPrompt || !includeUsage) return frames;
    const total = encodeJson(encodeUsage(sumUsage(finished.map((end) => end.usage))) ?? null);
    return frames + frame(`${opening}],"usage":${total}${ending}}`);
  };

  const encode = (event: PromptEvent): string => {
    switch (event.type) {
      case 'started':
        return start(event);
      case 'content': {
        const index = event.prompt * choices + event.choice;
        const offset = lengths[index] ?? 0;
        lengths[index] = offset + event.text.length;
        return chunk(index, event.text, encodeJson(encodeLogprobs(event.logprobs ?? [], offset)), 'null');
      }
      case 'finished':
        return finish(event.prompt, event);
      // A completion is text: what the model thought has no place in this older format.
      case 'queued':
      case 'loading':
      case 'reasoning':
      case 'toolCall':
        return '';
    }
  };

  return {
    encode,
    end() {
      if (finished.length < echoes.length) throw incomplete();
      return DONE;
    },
    fail: (error) => encodeFailure(inTermsOf(COMPLETION_FIELDS, error)),
  };
}

function encodeReason(reason: ChoiceResult['finish']): 'stop' | 'length' {
  const encoded = encodeFinishReason(reason);
  if (encoded !== 'tool_calls') return encoded;
  throw new GatewayError('upstream_failed', 'The model called a tool where none was offered.');
}

/** @param offset where the first of these tokens stands in the text of the answer. */
function encodeLogprobs(logprobs: readonly TokenLogprob[], offset: number) {
  if (logprobs.length === 0) return null;
  let position = offset;
  return {
    tokens: logprobs.map(({ token }) => token),
    token_logprobs: logprobs.map(({ logprob }) => logprob),
    top_logprobs: logprobs.map(({ top }) =>
      Object.fromEntries(top.map((other) => [other.token, other.logprob])),
    ),
    text_offset: logprobs.map(({ token }) => {
      const start = position;
      position += token.length;
      return start;
    }),
  };
}

/** Prompts are answered one after the other: the wait is the first one's, the total is everyone's. */
function spanOf(timings: readonly Timings[]): Timings {
  const [first] = timings;
  if (timings.length <= 1 || !first) return first ?? {};
  const total = timings.reduce((sum, { totalMs }) => sum + (totalMs ?? 0), 0);
  const { queueMs, loadMs, firstTokenMs } = first;
  return {
    ...(queueMs !== undefined && { queueMs }),
    ...(loadMs !== undefined && { loadMs }),
    ...(firstTokenMs !== undefined && { firstTokenMs }),
    totalMs: total,
  };
}
