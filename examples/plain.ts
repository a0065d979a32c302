/**
 * An answer as it is made, with nothing but graphql-ws. Works alike in browsers and in Node.
 *
 *     npx node examples/plain.ts 'Why is the sky blue?'
 */
import { print } from 'graphql';
import { type Client, createClient } from 'graphql-ws';
import { StreamAnswer } from './documents.ts';
import { type Gateway, gateway, question } from './gateway.ts';
import type {
  ChatCompletionInput,
  StreamAnswerSubscription,
  StreamAnswerSubscriptionVariables,
} from './generated/graphql.ts';

export type AnswerEvent = StreamAnswerSubscription['chatCompletion'];
export type AnswerEnd = Extract<AnswerEvent, { __typename: 'ChatFinished' | 'ChatFailed' }>;

/** One socket carries any number of answers at a time, so one client is enough for a whole application. */
export function connect({ url, key }: Gateway): Client {
  return createClient({
    url: url.replace(/^http/, 'ws'),
    // Browsers cannot set headers on a WebSocket, so the key travels in the first message.
    connectionParams: { authorization: `Bearer ${key}` },
    // A cut answer cannot be taken up again, and asking once more by itself would cost the same again and repeat the
    // text. So it fails, and the next question opens a new socket. Only a gateway that is being restarted has not begun
    // what it has not answered when it closes the socket, so that goes to the next one.
    shouldRetry: (problem) => (problem as Partial<CloseEvent>).code === 1001,
  });
}

/**
 * Asks, and passes the text on as it comes.
 * @param signal stops the answer, and with it the model, at once: also while nothing has come yet.
 * @returns how the answer ended; undefined where it was stopped.
 * @throws whatever went wrong with the connection or the document. What goes wrong with the answer is its last event.
 */
export async function streamAnswer(
  client: Client,
  input: ChatCompletionInput,
  onText: (text: string) => void,
  signal?: AbortSignal,
): Promise<AnswerEnd | undefined> {
  // A few milliseconds of text in one event are as smooth to read, and less work to show.
  const variables: StreamAnswerSubscriptionVariables = { input, coalesceMs: 30 };
  const events = client.iterate<StreamAnswerSubscription>({ query: print(StreamAnswer), variables });
  // Leaving the loop below would do the same, but only when the next event is there.
  const stop = () => void events.return?.();
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  try {
    for await (const { data, errors } of events) {
      if (errors?.[0]) throw errors[0];
      const event = data?.chatCompletion;
      switch (event?.__typename) {
        case 'ChatContentDelta':
          onText(event.content);
          break;
        case 'ChatFinished':
        case 'ChatFailed':
          return event;
      }
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  return undefined;
}

if (import.meta.main) {
  const client = connect(gateway);
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  const end = await streamAnswer(
    client,
    question,
    (text) => void process.stdout.write(text),
    interrupted.signal,
  );
  if (end?.__typename === 'ChatFailed') console.error(`\n${end.error.code}: ${end.error.message}`);
  else console.log();
  await client.dispose();
}
