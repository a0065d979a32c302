import { GatewayError } from '../../domain/error.ts';
import type { ChatEvent, Content, Finished, ToolCallEvent } from '../../domain/event.ts';
import type { StreamEncoder } from '../answer.ts';
import { encodeJson, frame } from '../sse.ts';
import { encodeFinishReason, encodeLogprob, encodeTimings, encodeUsage, type Stamp } from './response.ts';

export interface ChunkOptions extends Stamp {
  readonly choices: number;
  readonly includeUsage: boolean;
}

/**
 * Events as `chat.completion.chunk` frames. A token costs one JSON encoding of its text between two strings that are
 * made once, as this is the hot path of the whole gateway.
 */
export function createChatEncoder({
  id,
  created,
  choices,
  includeUsage,
}: ChunkOptions): StreamEncoder<ChatEvent> {
  let opening = '';
  let isFinished = false;
  const closing = includeUsage ? '],"usage":null}' : ']}';
  const openText = '"logprobs":null,"finish_reason":null}';

  const chunk = (choice: number, delta: string, rest = openText) =>
    frame(`${opening}{"index":${choice},"delta":${delta},${rest}${closing}`);

  const start = (model: string) => {
    opening = `{"id":${encodeJson(id)},"object":"chat.completion.chunk","created":${created},"model":${encodeJson(model)},"choices":[`;
    let frames = '';
    for (let choice = 0; choice < choices; choice++) {
      frames += chunk(choice, '{"role":"assistant","content":"","refusal":null}');
    }
    return frames;
  };

  const content = ({ choice, text, logprobs }: Content) => {
    const delta = `{"content":${encodeJson(text)}}`;
    if (!logprobs) return chunk(choice, delta);
    const encoded = encodeJson({ content: logprobs.map(encodeLogprob), refusal: null });
    return chunk(choice, delta, `"logprobs":${encoded},"finish_reason":null}`);
  };

  const toolCall = ({ choice, index, id: callId, name, arguments: args }: ToolCallEvent) => {
    // The name first and the arguments after it, because clients take a call's identity from its first chunk only.
    const first = { index, id: callId, type: 'function', function: { name, arguments: '' } };
    return (
      chunk(choice, `{"tool_calls":[${encodeJson(first)}]}`) +
      chunk(choice, `{"tool_calls":[${encodeJson({ index, function: { arguments: args } })}]}`)
    );
  };

  const finish = ({ reasons, usage, timings }: Finished) => {
    const timed = `"timings":${encodeJson(encodeTimings(timings))}`;
    let frames = '';
    for (const [choice, reason] of reasons.entries()) {
      const isLast = choice === reasons.length - 1;
      const end = isLast && !includeUsage ? `],${timed}}` : closing;
      const finishReason = encodeFinishReason(reason);
      frames += frame(
        `${opening}{"index":${choice},"delta":{},"logprobs":null,"finish_reason":"${finishReason}"}${end}`,
      );
    }
    if (includeUsage) frames += frame(`${opening}],"usage":${encodeJson(encodeUsage(usage))},${timed}}`);
    isFinished = true;
    return frames;
  };

  const encode = (event: ChatEvent): string => {
    switch (event.type) {
      case 'queued':
      case 'loading':
        return '';
      case 'started':
        return start(event.model);
      case 'content':
        return content(event);
      case 'reasoning':
        return chunk(event.choice, `{"reasoning_content":${encodeJson(event.text)}}`);
      case 'toolCall':
        return toolCall(event);
      case 'finished':
        return finish(event);
    }
  };

  return {
    encode(batch) {
      let frames = '';
      for (const event of batch) frames += encode(event);
      return frames;
    },
    end() {
      if (!isFinished) throw incomplete();
      return '';
    },
  };
}

export function incomplete(): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model stopped before its answer was complete.');
}
