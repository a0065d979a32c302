/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';
/** A chat to be answered. What is absent is left to the model's own defaults. */
export type ChatCompletionInput = {
  /** Lowers the chances of tokens the more often they were used, -2 to 2. */
  readonly frequencyPenalty?: number | null | undefined;
  /** How long the model stays in memory afterwards, in seconds: 60 to 3600. Anything else has no effect, with a warning, as the memory is shared. */
  readonly keepAliveSeconds?: number | null | undefined;
  /** Whether to tell how probable each token was. */
  readonly logprobs?: boolean;
  /** The bound on what one answer may have, in tokens, reasoning included: at least 1. */
  readonly maxCompletionTokens?: number | null | undefined;
  /** The chat so far, oldest first: at least one message. */
  readonly messages: ReadonlyArray<MessageInput>;
  /** Only tokens at least this probable, as a fraction of the most probable one, 0 to 1. */
  readonly minP?: number | null | undefined;
  /** The name of the model. Without a tag, `:latest` is meant. */
  readonly model: string;
  /** How many independent answers, 1 to 128. Each counts its tokens. */
  readonly n?: number;
  /** Whether one answer may call several tools. */
  readonly parallelToolCalls?: boolean;
  /** Lowers the chances of tokens that were used, -2 to 2. */
  readonly presencePenalty?: number | null | undefined;
  /** How much the model is to think. */
  readonly reasoningEffort?: ReasoningEffort | null | undefined;
  /** What the text has to be. Absent: any. */
  readonly responseFormat?: ResponseFormatInput | null | undefined;
  /** The same seed and request give the same answer, as far as can be. */
  readonly seed?: number | null | undefined;
  /** Texts before which the model stops: at most 32, none empty. */
  readonly stop?: ReadonlyArray<string> | null | undefined;
  /** How freely tokens are chosen, 0 to 2. At 0 the most probable ones are. */
  readonly temperature?: number | null | undefined;
  /** Which of them it calls. Absent: as it sees fit. */
  readonly toolChoice?: ToolChoiceInput | null | undefined;
  /** What the model may ask to be called. At most 128. */
  readonly tools?: ReadonlyArray<ToolInput> | null | undefined;
  /** Only so many of the most probable tokens. 0: no such bound. */
  readonly topK?: number | null | undefined;
  /** How many alternatives to tell for each token, 0 to 20. Only with `logprobs`. */
  readonly topLogprobs?: number | null | undefined;
  /** Only the most probable tokens that together have this probability, 0 to 1. */
  readonly topP?: number | null | undefined;
};

/** What went wrong. A stable name, also found as `extensions.code`; more may be added. */
export type ErrorCode =
  /** The request is larger than the gateway accepts. */
  | 'BODY_TOO_LARGE'
  /** The model cannot do what the request asks of it. */
  | 'CAPABILITY_MISSING'
  /** The client left before the answer was complete. */
  | 'CLIENT_CLOSED'
  /** The prompt is longer than the model can read. */
  | 'CONTEXT_LENGTH_EXCEEDED'
  /** A mistake of the gateway. Its request id helps whoever looks for it. */
  | 'INTERNAL'
  /** The API key is unknown, revoked or expired. */
  | 'INVALID_API_KEY'
  /** An argument or input field has a value that it cannot have. */
  | 'INVALID_REQUEST'
  /** The HTTP method does not fit the operation. */
  | 'METHOD_NOT_ALLOWED'
  /** The request carries no API key. */
  | 'MISSING_API_KEY'
  /** The model does not exist, or the API key may not know of it. */
  | 'MODEL_NOT_FOUND'
  /** There is nothing with this id, or the API key may not know of it. */
  | 'NOT_FOUND'
  /** The API key lacks the scope, or may not use the model. */
  | 'NOT_PERMITTED'
  /** One of the API key's limits is reached for now. */
  | 'RATE_LIMITED'
  /** The request alone asks for more than a limit ever allows. */
  | 'REQUEST_TOO_LARGE'
  /** The gateway is being stopped; another replica will answer. */
  | 'SHUTTING_DOWN'
  /** The database of the gateway cannot be reached. */
  | 'STORAGE_UNAVAILABLE'
  /** The request is not encoded in a way that the gateway reads. */
  | 'UNSUPPORTED_MEDIA_TYPE'
  /** An input field asks for what no backend can do. */
  | 'UNSUPPORTED_PARAMETER'
  /** Every model server that could take the request is busy. */
  | 'UPSTREAM_BUSY'
  /** The model server failed, for example to load the model. */
  | 'UPSTREAM_FAILED'
  /** The model server stopped before its answer was complete. */
  | 'UPSTREAM_INCOMPLETE'
  /** The model's answer does not fit the schema or tool that was asked for. */
  | 'UPSTREAM_INVALID_OUTPUT'
  /** The model server did not answer in time. */
  | 'UPSTREAM_TIMEOUT'
  /** No model server can take the request now. */
  | 'UPSTREAM_UNAVAILABLE';

/** Why a model stopped. */
export type FinishReason =
  /** It came to the bound on its tokens. */
  | 'LENGTH'
  /** It was done, or came to a stop string. */
  | 'STOP'
  /** It waits for the results of its tool calls. */
  | 'TOOL_CALLS';

/** An image for a model that sees. */
export type ImageInput = {
  /** A `data:image/…;base64,…` URI with the image itself. Nothing is ever fetched. */
  readonly url: string;
};

/** What a JSON answer has to look like. */
export type JsonSchemaInput = {
  /** Its name: 1 to 64 letters, digits, _ and -. */
  readonly name: string;
  /** A JSON Schema. */
  readonly schema: unknown;
};

/** One of the limits that a key can have. */
export type LimitName =
  /** Requests that run at the same time. */
  | 'CONCURRENCY'
  /** Requests per minute. */
  | 'REQUESTS'
  /** Tokens per minute, of prompts and answers together. */
  | 'TOKENS';

/** A message of a chat. */
export type MessageInput = {
  /** What is said: at least one part. Texts are joined without a separator. */
  readonly content: ReadonlyArray<MessagePartInput>;
  /** Who says it. */
  readonly role: MessageRole;
};

/** A part of a message: exactly one of these. */
export type MessagePartInput =
  {   /** An image. Only from a user. */
  readonly image: ImageInput; readonly reasoning?: never; readonly text?: never; readonly toolCall?: never; readonly toolResult?: never; }
  |  { readonly image?: never;   /** What the model thought. Only from the assistant. */
  readonly reasoning: string; readonly text?: never; readonly toolCall?: never; readonly toolResult?: never; }
  |  { readonly image?: never; readonly reasoning?: never;   /** Text. */
  readonly text: string; readonly toolCall?: never; readonly toolResult?: never; }
  |  { readonly image?: never; readonly reasoning?: never; readonly text?: never;   /** A tool call. Only from the assistant. */
  readonly toolCall: ToolCallInput; readonly toolResult?: never; }
  |  { readonly image?: never; readonly reasoning?: never; readonly text?: never; readonly toolCall?: never;   /** The result of a tool call. Only from a tool. */
  readonly toolResult: ToolResultInput; };

/** Who says a message. */
export type MessageRole =
  /** The model. Its parts are texts, reasoning and tool calls. */
  | 'ASSISTANT'
  /** Another name of `SYSTEM`. */
  | 'DEVELOPER'
  /** Whoever instructs the model. Its parts are texts. */
  | 'SYSTEM'
  /** A tool that was called. Its one part is a tool result. */
  | 'TOOL'
  /** Whoever asks the model. Its parts are texts and images. */
  | 'USER';

/** Something that a model can do. */
export type ModelCapability =
  /** Hears audio. */
  | 'AUDIO'
  /** Answers chats. */
  | 'COMPLETION'
  /** Turns text into vectors. */
  | 'EMBEDDING'
  /** Makes images. */
  | 'IMAGE'
  /** Fills in the middle of a text. */
  | 'INSERT'
  /** Reasons before it answers. */
  | 'THINKING'
  /** Calls tools. */
  | 'TOOLS'
  /** Sees images. */
  | 'VISION';

/** How much a model is to think before it answers. Models tell fewer degrees apart than there are. */
export type ReasoningEffort =
  /** Much. */
  | 'HIGH'
  /** A little. */
  | 'LOW'
  /** As much as it can. */
  | 'MAX'
  /** Some. */
  | 'MEDIUM'
  /** As little as it can. */
  | 'MINIMAL'
  /** Not at all. */
  | 'NONE'
  /** Very much. */
  | 'XHIGH';

/** What the text of the answer has to be: exactly one of these. */
export type ResponseFormatInput =
  {   /** JSON that fits a schema. */
  readonly jsonSchema: JsonSchemaInput; readonly type?: never; }
  |  { readonly jsonSchema?: never;   /** A kind without further conditions. */
  readonly type: ResponseFormatType; };

/** What the text of an answer is. */
export type ResponseFormatType =
  /** The JSON text of some object. */
  | 'JSON_OBJECT'
  /** Any text. */
  | 'TEXT';

/** A tool call that the model made earlier. */
export type ToolCallInput = {
  /** The JSON text of an object, as it was answered. Anything else is left out, with a warning. */
  readonly arguments: string;
  /** The call's id, as it was answered. */
  readonly id: string;
  /** The tool's name. */
  readonly name: string;
};

/** Which tools the model calls: exactly one of these. */
export type ToolChoiceInput =
  {   /** Whether it calls any. */
  readonly mode: ToolChoiceMode; readonly tool?: never; }
  |  { readonly mode?: never;   /** The name of the one tool that it must call. */
  readonly tool: string; };

/** Whether the model calls tools. */
export type ToolChoiceMode =
  /** As it sees fit. */
  | 'AUTO'
  /** It must not. */
  | 'NONE'
  /** It must call at least one. */
  | 'REQUIRED';

/** A function that the model may ask to be called. */
export type ToolInput = {
  /** What it does and when to call it, for the model. */
  readonly description?: string | null | undefined;
  /** Its name: 1 to 64 letters, digits, _ and -. */
  readonly name: string;
  /** The JSON Schema of the object that it takes. Absent: it takes nothing. */
  readonly parameters?: unknown;
};

/** What a tool that was called gave back. */
export type ToolResultInput = {
  /** The result as text, often JSON. */
  readonly content: string;
  /** The id of a tool call in an earlier message. */
  readonly toolCallId: string;
};

export type StreamAnswerSubscriptionVariables = Exact<{
  input: ChatCompletionInput;
  coalesceMs?: number;
}>;


export type StreamAnswerSubscription = { readonly chatCompletion:
    | { readonly __typename: 'ChatContentDelta', readonly content: string, readonly completionId: string, readonly sequence: number }
    | { readonly __typename: 'ChatFailed', readonly completionId: string, readonly sequence: number, readonly error:
        | { readonly __typename: 'CapabilityMissingError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'GatewayUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'InternalError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'InvalidRequestError', readonly path: string | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'ModelNotFoundError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'NotAuthenticatedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'NotFoundError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'NotPermittedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'RateLimitedError', readonly limitName: LimitName | null, readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'UpstreamFailedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
        | { readonly __typename: 'UpstreamUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
       }
    | { readonly __typename: 'ChatFinished', readonly completionId: string, readonly sequence: number, readonly choices: ReadonlyArray<{ readonly finishReason: FinishReason }>, readonly usage: { readonly promptTokens: number | null, readonly completionTokens: number | null } }
    | { readonly __typename: 'ChatModelLoading', readonly model: string, readonly completionId: string, readonly sequence: number }
    | { readonly __typename: 'ChatQueued', readonly position: number, readonly completionId: string, readonly sequence: number }
    | { readonly __typename: 'ChatReasoningDelta', readonly reasoning: string, readonly completionId: string, readonly sequence: number }
    | { readonly __typename: 'ChatStarted', readonly model: string, readonly warnings: ReadonlyArray<string>, readonly completionId: string, readonly sequence: number }
    | { readonly __typename: 'ChatToolCallDelta', readonly completionId: string, readonly sequence: number }
   };

export type AnswerMutationVariables = Exact<{
  input: ChatCompletionInput;
}>;


export type AnswerMutation = { readonly createChatCompletion:
    | { readonly __typename: 'CapabilityMissingError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'ChatCompletion', readonly choices: ReadonlyArray<{ readonly finishReason: FinishReason, readonly message: { readonly content: string | null, readonly toolCalls: ReadonlyArray<{ readonly id: string, readonly name: string, readonly arguments: string }> } }>, readonly usage: { readonly totalTokens: number | null } }
    | { readonly __typename: 'GatewayUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'InvalidRequestError', readonly path: string | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'ModelNotFoundError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'NotAuthenticatedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'NotPermittedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'RateLimitedError', readonly limitName: LimitName | null, readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'UpstreamFailedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
    | { readonly __typename: 'UpstreamUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean }
   };

type Failure_CapabilityMissingError_Fragment = { readonly __typename: 'CapabilityMissingError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_GatewayUnavailableError_Fragment = { readonly __typename: 'GatewayUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_InternalError_Fragment = { readonly __typename: 'InternalError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_InvalidRequestError_Fragment = { readonly __typename: 'InvalidRequestError', readonly path: string | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_ModelNotFoundError_Fragment = { readonly __typename: 'ModelNotFoundError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_NotAuthenticatedError_Fragment = { readonly __typename: 'NotAuthenticatedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_NotFoundError_Fragment = { readonly __typename: 'NotFoundError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_NotPermittedError_Fragment = { readonly __typename: 'NotPermittedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_RateLimitedError_Fragment = { readonly __typename: 'RateLimitedError', readonly limitName: LimitName | null, readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_UpstreamFailedError_Fragment = { readonly __typename: 'UpstreamFailedError', readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

type Failure_UpstreamUnavailableError_Fragment = { readonly __typename: 'UpstreamUnavailableError', readonly retryAfterMs: number | null, readonly code: ErrorCode, readonly message: string, readonly retryable: boolean };

export type FailureFragment =
  | Failure_CapabilityMissingError_Fragment
  | Failure_GatewayUnavailableError_Fragment
  | Failure_InternalError_Fragment
  | Failure_InvalidRequestError_Fragment
  | Failure_ModelNotFoundError_Fragment
  | Failure_NotAuthenticatedError_Fragment
  | Failure_NotFoundError_Fragment
  | Failure_NotPermittedError_Fragment
  | Failure_RateLimitedError_Fragment
  | Failure_UpstreamFailedError_Fragment
  | Failure_UpstreamUnavailableError_Fragment
;

export type ModelsQueryVariables = Exact<{ [key: string]: never; }>;


export type ModelsQuery = { readonly models: ReadonlyArray<{ readonly id: string, readonly name: string, readonly capabilities: ReadonlyArray<ModelCapability>, readonly contextLength: number | null }> | null };

export const FailureFragmentDoc = {"kind":"Document","definitions":[{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Failure"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"Error"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"Field","name":{"kind":"Name","value":"code"}},{"kind":"Field","name":{"kind":"Name","value":"message"}},{"kind":"Field","name":{"kind":"Name","value":"retryable"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"RateLimitedError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"limitName"}},{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"UpstreamUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"GatewayUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"InvalidRequestError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"path"}}]}}]}}]} as unknown as DocumentNode<FailureFragment, unknown>;
export const StreamAnswerDocument = {"__meta__":{"hash":"sha256:25a1680464e465b1e1c97d9037003dacfcaad53e30239ea7b379fa56cc6b4364"},"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"subscription","name":{"kind":"Name","value":"StreamAnswer"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"input"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"ChatCompletionInput"}}}},{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"coalesceMs"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"Int"}}},"defaultValue":{"kind":"IntValue","value":"0"}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"chatCompletion"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"input"},"value":{"kind":"Variable","name":{"kind":"Name","value":"input"}}},{"kind":"Argument","name":{"kind":"Name","value":"coalesceMs"},"value":{"kind":"Variable","name":{"kind":"Name","value":"coalesceMs"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"Field","name":{"kind":"Name","value":"completionId"}},{"kind":"Field","name":{"kind":"Name","value":"sequence"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatQueued"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"position"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatModelLoading"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"model"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatStarted"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"model"}},{"kind":"Field","name":{"kind":"Name","value":"warnings"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatReasoningDelta"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"reasoning"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatContentDelta"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"content"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatFinished"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"choices"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"finishReason"}}]}},{"kind":"Field","name":{"kind":"Name","value":"usage"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"promptTokens"}},{"kind":"Field","name":{"kind":"Name","value":"completionTokens"}}]}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatFailed"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"error"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"FragmentSpread","name":{"kind":"Name","value":"Failure"}}]}}]}}]}}]}},{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Failure"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"Error"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"Field","name":{"kind":"Name","value":"code"}},{"kind":"Field","name":{"kind":"Name","value":"message"}},{"kind":"Field","name":{"kind":"Name","value":"retryable"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"RateLimitedError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"limitName"}},{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"UpstreamUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"GatewayUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"InvalidRequestError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"path"}}]}}]}}]} as unknown as DocumentNode<StreamAnswerSubscription, StreamAnswerSubscriptionVariables>;
export const AnswerDocument = {"__meta__":{"hash":"sha256:75723a28043f090ed8916529a80a19144e268fa22ddad873c5b53ff3a9e01865"},"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"mutation","name":{"kind":"Name","value":"Answer"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"input"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"ChatCompletionInput"}}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"createChatCompletion"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"input"},"value":{"kind":"Variable","name":{"kind":"Name","value":"input"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"ChatCompletion"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"choices"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"finishReason"}},{"kind":"Field","name":{"kind":"Name","value":"message"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"content"}},{"kind":"Field","name":{"kind":"Name","value":"toolCalls"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"name"}},{"kind":"Field","name":{"kind":"Name","value":"arguments"}}]}}]}}]}},{"kind":"Field","name":{"kind":"Name","value":"usage"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"totalTokens"}}]}}]}},{"kind":"FragmentSpread","name":{"kind":"Name","value":"Failure"}}]}}]}},{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Failure"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"Error"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"__typename"}},{"kind":"Field","name":{"kind":"Name","value":"code"}},{"kind":"Field","name":{"kind":"Name","value":"message"}},{"kind":"Field","name":{"kind":"Name","value":"retryable"}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"RateLimitedError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"limitName"}},{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"UpstreamUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"GatewayUnavailableError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"retryAfterMs"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"InvalidRequestError"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"path"}}]}}]}}]} as unknown as DocumentNode<AnswerMutation, AnswerMutationVariables>;
export const ModelsDocument = {"__meta__":{"hash":"sha256:1aaf330438f50dba004de7a0034d0fe04c660ba6cab5a37d6282a759e83cd82f"},"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"query","name":{"kind":"Name","value":"Models"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"models"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"name"}},{"kind":"Field","name":{"kind":"Name","value":"capabilities"}},{"kind":"Field","name":{"kind":"Name","value":"contextLength"}}]}}]}}]} as unknown as DocumentNode<ModelsQuery, ModelsQueryVariables>;