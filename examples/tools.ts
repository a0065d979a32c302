/**
 * Tools and structured output, over plain HTTP: no library is needed but for types.
 *
 *     npx node examples/tools.ts 'What is the weather in Oslo?'
 */
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { print } from 'graphql';
import { Answer } from './documents.ts';
import { type Gateway, gateway, question } from './gateway.ts';
import type { AnswerMutation, ChatCompletionInput, MessageInput, ToolInput } from './generated/graphql.ts';

/** What a tool does. It gets the arguments as the model wrote them, and its result is text, usually JSON. */
export type Tools = Readonly<Record<string, ToolInput & { run(args: unknown): Promise<string> | string }>>;

type Completion = Extract<AnswerMutation['createChatCompletion'], { __typename: 'ChatCompletion' }>;
type Choice = Completion['choices'][number];

/** One operation. @throws Error where it was not executed, or not entirely. */
export async function request<Result, Variables>(
  { url, key }: Gateway,
  document: TypedDocumentNode<Result, Variables>,
  variables: Variables,
): Promise<Result> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: print(document), variables }),
  });
  const { data, errors } = (await response.json()) as { data: Result; errors?: { message: string }[] };
  if (errors?.[0]) throw new Error(errors[0].message);
  return data;
}

/** The first answer. @throws Error with the code of what went wrong. */
export async function complete(to: Gateway, input: ChatCompletionInput): Promise<Choice> {
  const { createChatCompletion: result } = await request(to, Answer, { input });
  if (result.__typename !== 'ChatCompletion') throw new Error(`${result.code}: ${result.message}`);
  const [choice] = result.choices;
  if (!choice) throw new Error('There is no answer.');
  return choice;
}

/** Lets the model call tools until it answers with text, at most so many times. */
export async function answerWithTools(
  to: Gateway,
  input: ChatCompletionInput,
  tools: Tools,
  maxRounds = 5,
): Promise<string> {
  const messages: MessageInput[] = [...input.messages];
  const offered = Object.values(tools).map(({ name, description, parameters }) => ({
    name,
    description,
    parameters,
  }));
  for (let round = 0; round < maxRounds; round++) {
    const { message, finishReason } = await complete(to, { ...input, messages, tools: offered });
    if (finishReason !== 'TOOL_CALLS') return message.content ?? '';
    // The calls go back as they came, and after them one message for each result.
    const said = message.content === null ? [] : [{ text: message.content }];
    const calls = message.toolCalls.map(({ id, name, arguments: args }) => ({
      toolCall: { id, name, arguments: args },
    }));
    messages.push({ role: 'ASSISTANT', content: [...said, ...calls] });
    for (const call of message.toolCalls) {
      const tool = tools[call.name];
      const content = tool ? await tool.run(JSON.parse(call.arguments)) : `There is no tool ${call.name}.`;
      messages.push({ role: 'TOOL', content: [{ toolResult: { toolCallId: call.id, content } }] });
    }
  }
  throw new Error(`The model did not come to an answer in ${maxRounds} rounds.`);
}

/** An answer that is an object of the given JSON Schema. `parse` checks it, as an answer may be cut at its bound. */
export async function answerAs<T>(
  to: Gateway,
  input: ChatCompletionInput,
  schema: object,
  parse: (value: unknown) => T,
): Promise<T> {
  const { message, finishReason } = await complete(to, {
    ...input,
    responseFormat: { jsonSchema: { name: 'answer', schema } },
  });
  if (finishReason === 'LENGTH') throw new Error('The answer was cut. Raise maxCompletionTokens.');
  return parse(JSON.parse(message.content ?? ''));
}

if (import.meta.main) {
  const weather: Tools[string] = {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
    run: () => JSON.stringify({ celsius: 4, sky: 'overcast' }),
  };
  console.log(await answerWithTools(gateway, question, { get_weather: weather }));
}
