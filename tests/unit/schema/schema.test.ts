import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  type GraphQLFieldMap,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isNonNullType,
  isObjectType,
  isSpecifiedScalarType,
  printSchema,
  validateSchema,
} from 'graphql';
import { ERRORS, type ErrorCode, GatewayError } from '../../../src/domain/error.ts';
import { SCOPES } from '../../../src/domain/principal.ts';
import { builder } from '../../../src/schema/builder.ts';
import { encodeError, encodeErrorCode, encodeGraphQLError, isExpected } from '../../../src/schema/errors.ts';
import { createSchema } from '../../../src/schema/index.ts';

const schema = createSchema();
const roots = ['Query', 'Mutation', 'Subscription'] as const;

function rootFields(of: GraphQLSchema): [string, GraphQLFieldMap<unknown, unknown>[string]][] {
  return roots.flatMap((root) => {
    const type = of.getType(root);
    if (!isObjectType(type)) throw new Error(`there is no ${root}`);
    return Object.entries(type.getFields()).map(([name, field]) => [`${root}.${name}`, field] as const);
  }) as [string, GraphQLFieldMap<unknown, unknown>[string]][];
}

test('the schema is valid, and schema.graphql is what it prints', () => {
  expect(validateSchema(schema)).toEqual([]);
  const printed = readFileSync(join(import.meta.dirname, '../../../schema.graphql'), 'utf8');
  expect(`${printSchema(createSchema())}\n`).toBe(printed);
});

test('every query that can fail may be null, so that it does not take the others along', () => {
  const nonNull = Object.values(schema.getQueryType()?.getFields() ?? {}).filter(({ type }) =>
    isNonNullType(type),
  );
  // The one that only shows what is known by then.
  expect(nonNull.map(({ name }) => name)).toEqual(['viewer']);
});

test('every type, field, argument and enum value has a description', () => {
  const silent: string[] = [];
  const see = (path: string, { description }: { readonly description?: string | null | undefined }) => {
    if (!description?.trim() || /undefined|null null/.test(description)) silent.push(path);
  };
  let seen = 0;
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type) || isSpecifiedScalarType(type)) continue;
    seen++;
    see(type.name, type);
    if (isEnumType(type)) for (const value of type.getValues()) see(`${type.name}.${value.name}`, value);
    if (isInputObjectType(type)) {
      for (const field of Object.values(type.getFields())) see(`${type.name}.${field.name}`, field);
    }
    if (!isObjectType(type) && !isInterfaceType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      see(`${type.name}.${field.name}`, field);
      for (const arg of field.args) see(`${type.name}.${field.name}(${arg.name})`, arg);
    }
  }
  expect(seen).toBeGreaterThan(60);
  expect(silent).toEqual([]);
});

describe('who may use a root field', () => {
  test('each says so, in its definition and in its description', () => {
    const fields = rootFields(schema);
    expect(fields.length).toBeGreaterThan(15);
    for (const [name, { extensions, description }] of fields) {
      const scope = extensions['scope'];
      expect([name, [...SCOPES, 'authenticated'].includes(String(scope))]).toEqual([name, true]);
      const said = scope === 'authenticated' ? 'Any valid key may use it.' : `Needs the scope \`${scope}\`.`;
      expect(description).toContain(said);
    }
  });

  test('is asked here, but for what the core meters, which asks itself', () => {
    const metered = rootFields(schema).filter(([, { extensions }]) => extensions['metered']);
    expect(metered.map(([name]) => name).sort()).toEqual([
      'Mutation.createChatCompletion',
      'Mutation.createEmbeddings',
      'Subscription.chatCompletion',
    ]);
  });

  test('a field that does not say so does not build', () => {
    const options = { type: 'Int', description: 'Unguarded.', resolve: () => 1 } as const;
    const other = new (builder.constructor as typeof import('@pothos/core').default)({ plugins: ['access'] });
    other.queryType({ fields: (t) => ({ open: t.field(options as never) }) });
    expect(() => other.toSchema()).toThrow('Query.open does not say who may use it');
  });
});

describe('errors', () => {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  const context = { requestId: 'req_1', rateLimit: { mode: 'exact' as const } };

  test('every code of the catalogue has a type that implements Error, and is a value of ErrorCode', () => {
    const values = schema.getType('ErrorCode');
    if (!isEnumType(values)) throw new Error('ErrorCode is not an enum');
    for (const code of codes) {
      const { __typename } = encodeError(new GatewayError(code, 'said'), context);
      const type = schema.getType(__typename);
      expect(isObjectType(type) && type.getInterfaces().map(String)).toEqual(['Error']);
      expect(values.getValue(encodeErrorCode(code))?.value).toBe(code);
    }
    expect(values.getValues()).toHaveLength(codes.length);
  });

  test('only what is the fault of the gateway, or has no reader, is not to be expected', () => {
    const unexpected = codes.filter((code) => !isExpected(new GatewayError(code, 'said')));
    expect(unexpected).toEqual(['client_closed', 'internal']);
  });

  test.each([
    ['model', 'input.model'],
    ['tool_choice', 'input.toolChoice'],
    ['messages[3].tool_calls[0].function.arguments', 'input.messages[3].content'],
    ['messages[0].content', 'input.messages[0].content'],
    ['messages', 'input.messages'],
    ['keep_alive', 'input.keepAliveSeconds'],
    ['limits.requestsPerMinute', 'input.limits.requestsPerMinute'],
    ['response_format', 'input.responseFormat'],
    ['input', 'input.input'],
  ])('the field that the core calls %s is %s', (param, path) => {
    const error = new GatewayError('invalid_request', 'said', { param });
    expect(encodeError(error, context).path).toBe(path);
  });

  test('a refusal by a limit tells the figures of that limit', () => {
    const error = new GatewayError('rate_limited', 'said', { limit: 'tokens', retryAfterMs: 1500.2 });
    const tokens = { limit: 100, remaining: 3, resetMs: 58_000 };
    expect(encodeError(error, { ...context, rateLimit: { mode: 'exact', tokens } })).toEqual({
      __typename: 'RateLimitedError',
      code: 'rate_limited',
      message: 'said',
      retryable: true,
      retryAfterMs: 1501,
      limitName: 'tokens',
      ...tokens,
    });
  });

  test('at the top level, a failure keeps its code and says whether and when to try again', () => {
    const error = new GatewayError('storage_unavailable', 'said', { retryAfterMs: 10, param: 'first' });
    expect(encodeGraphQLError(error)).toMatchObject({
      message: 'said',
      extensions: { code: 'STORAGE_UNAVAILABLE', retryable: true, retryAfterMs: 10, argument: 'first' },
    });
  });

  test('no error shows what is for logs only', () => {
    const details = { detail: 'http://10.0.0.1 refused', cause: new Error('secret') };
    for (const code of codes) {
      const error = new GatewayError(code, 'said', details);
      expect(JSON.stringify(encodeError(error, context))).not.toMatch(/10\.0|secret/);
      expect(JSON.stringify(encodeGraphQLError(error))).not.toMatch(/10\.0|secret/);
    }
  });
});
