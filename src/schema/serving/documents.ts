import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  getOperationAST,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type OperationDefinitionNode,
  parse,
  Source,
  specifiedRules,
  validate,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import { requireModestCost, requireWithin } from './cost.ts';
import { BoundedLexer } from './lexer.ts';
import type { DocumentLimits } from './limits.ts';
import { countPairs } from './pairs.ts';
import type { Params } from './params.ts';
import { type PersistedDocuments, resolveDocument } from './persisted.ts';
import { requestError, withoutValues } from './refusal.ts';
import { createVariablesCheck } from './variables.ts';

/** An operation that may be executed. */
export interface PreparedOperation {
  readonly document: DocumentNode;
  readonly operation: OperationDefinitionNode;
  readonly variables: Params['variables'];
}

export interface DocumentOptions {
  readonly schema: GraphQLSchema;
  readonly limits: DocumentLimits;
  readonly persisted: PersistedDocuments;
  /** Introspection, and suggestions in messages: what tells a stranger about the schema. */
  readonly openToView: boolean;
}

/** How many faults one answer lists. Some messages are as costly to make as the document is long. */
const MAX_ERRORS = 3;
/** Length in characters of all documents kept parsed. A parsed one takes some 60 times its text. */
const MAX_CACHED_LENGTH = 512 * 1024;

/**
 * `prepare` makes an operation of a request's parameters, the checks in order of their cost: each before anything that the
 * next could not bear. It throws a GraphQLError, or an array of them where validation finds more than one fault.
 */
export function createDocuments({ schema, limits, persisted, openToView }: DocumentOptions) {
  const valid = new LRUCache<string, DocumentNode>({
    maxSize: MAX_CACHED_LENGTH,
    sizeCalculation: (_, text) => text.length,
  });
  const requireVariables = createVariablesCheck(schema, openToView);
  const rules = openToView ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule];

  const prepare = (params: Params): PreparedOperation => {
    const text = resolveDocument(params, persisted);
    requireWithin('bytes', Buffer.byteLength(text), limits.bytes);
    const known = valid.get(text);
    const document = known ?? parseDocument(text, limits);
    const operation = selectOperation(document, params.operationName);
    // The sizes of pages come with the variables, so this is counted for each request.
    requireModestCost(schema, document, operation, params.variables, limits);
    if (!known) {
      requireWithin('pairs', countPairs(document), limits.pairs);
      const errors = validate(schema, document, rules, {
        maxErrors: MAX_ERRORS,
        hideSuggestions: !openToView,
      });
      if (errors.length > 0) throw errors.map(asValidationError);
      valid.set(text, document);
    }
    requireVariables(operation, params.variables);
    return { document, operation, variables: params.variables };
  };

  return {
    prepare,
    /** Whether the document of a request has been looked at before: what costs most of `prepare` is done. */
    isKnown: ({ query }: Params): boolean => !query || valid.has(query),
  };
}

function parseDocument(text: string, limits: DocumentLimits): DocumentNode {
  const source = new Source(text);
  try {
    return parse(source, { lexer: new BoundedLexer(source, limits) });
  } catch (error) {
    const isFault = error instanceof GraphQLError && error.extensions['code'] === undefined;
    throw isFault ? requestError('GRAPHQL_PARSE_FAILED', error.message, placeOf(error)) : error;
  }
}

function selectOperation(document: DocumentNode, name: string | undefined): OperationDefinitionNode {
  const operation = getOperationAST(document, name || undefined);
  if (operation) return operation;
  const several = document.definitions.some(({ kind }) => kind === Kind.OPERATION_DEFINITION);
  const message = !several
    ? 'The document has no operation.'
    : name
      ? 'The document has no operation of this name.'
      : 'The document has several operations. Say which by `operationName`.';
  throw requestError('OPERATION_RESOLUTION_FAILURE', message);
}

function asValidationError(error: GraphQLError): GraphQLError {
  return requestError('GRAPHQL_VALIDATION_FAILED', withoutValues(error.message), placeOf(error));
}

function placeOf({ source, positions }: GraphQLError) {
  return { ...(source && { source }), ...(positions && { positions: [...positions] }) };
}
