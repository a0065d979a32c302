import {
  type GraphQLEnumType,
  GraphQLError,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLScalarType,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isRequiredInputField,
  type OperationDefinitionNode,
  typeFromAST,
} from 'graphql';
import type { Params } from './params.ts';
import { requestError } from './refusal.ts';

/** What is wrong with a value, and where within it, as `.messages[0].role`. */
interface Fault {
  readonly place: string;
  readonly message: string;
}

/**
 * Refuses variables that are not what the operation declares, by the first fault that is found. Execution would refuse
 * the same, but prints for each of up to fifty faults all of the value around it, and looks for similar names, however
 * long the name: seconds for half a megabyte.
 *
 * @param openToView whether messages may tell which names there are.
 * @throws GraphQLError `BAD_USER_INPUT`, which names the place and not the value.
 */
export function requireVariables(
  schema: GraphQLSchema,
  { variableDefinitions = [] }: OperationDefinitionNode,
  variables: Params['variables'],
  openToView: boolean,
): void {
  for (const definition of variableDefinitions) {
    const { value: name } = definition.variable.name;
    const type = typeFromAST(schema, definition.type);
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (!isInputType(type) || (value === undefined && definition.defaultValue)) continue;
    const fault = findFault(value, type, openToView);
    if (!fault) continue;
    const message = `Variable "$${name}" has invalid value${fault.place && ` at ${fault.place}`}: ${fault.message}`;
    throw requestError('BAD_USER_INPUT', message, { nodes: definition });
  }
}

/** As the specification coerces values, section 3; without the coerced value, which execution makes. */
function findFault(value: unknown, type: GraphQLInputType, openToView: boolean): Fault | undefined {
  if (isNonNullType(type)) {
    if (value === undefined) return fault(`Expected a value of non-null type "${type}" to be provided.`);
    if (value === null) return fault(`Expected value of non-null type "${type}" not to be null.`);
    return findFault(value, type.ofType, openToView);
  }
  if (value === undefined || value === null) return undefined;
  if (isListType(type)) {
    if (!Array.isArray(value)) return findFault(value, type.ofType, openToView);
    for (const [index, item] of value.entries()) {
      const found = findFault(item, type.ofType, openToView);
      if (found) return within(`[${index}]`, found);
    }
    return undefined;
  }
  if (isInputObjectType(type)) return findFaultOfObject(value, type, openToView);
  return isEnumType(type) ? findFaultOfEnum(value, type, openToView) : findFaultOfScalar(value, type);
}

function findFaultOfObject(
  value: unknown,
  type: GraphQLInputObjectType,
  openToView: boolean,
): Fault | undefined {
  if (!isObject(value)) return fault(`Expected value of type "${type}" to be an object.`);
  const fields = type.getFields();
  const names = Object.keys(value);
  const unknown = names.find((name) => !Object.hasOwn(fields, name));
  if (unknown !== undefined) {
    const known = openToView ? ` It has ${Object.keys(fields).join(', ')}.` : '';
    return fault(`Expected value of type "${type}" not to include unknown field "${unknown}".${known}`);
  }
  for (const field of Object.values(fields)) {
    const item = value[field.name];
    if (item === undefined && isRequiredInputField(field)) {
      return fault(`Expected value of type "${type}" to include required field "${field.name}".`);
    }
    const found = item === undefined ? undefined : findFault(item, field.type, openToView);
    if (found) return within(`.${field.name}`, found);
  }
  if (type.isOneOf && (names.length !== 1 || value[names[0] ?? ''] === null)) {
    return fault(`Exactly one field of "${type}" must be given, and not be null.`);
  }
  return undefined;
}

function findFaultOfEnum(value: unknown, type: GraphQLEnumType, openToView: boolean): Fault | undefined {
  if (typeof value === 'string' && type.getValue(value)) return undefined;
  const names = type.getValues().map(({ name }) => name);
  const known = openToView ? ` There are ${names.join(', ')}.` : '';
  return fault(`Expected value of enum "${type}".${known}`);
}

/** What the language's own scalars accept, of all that JSON can hold. They themselves print what they do not. */
const ACCEPTS: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['String', (value) => typeof value === 'string'],
  ['Boolean', (value) => typeof value === 'boolean'],
  ['Int', (value) => typeof value === 'number' && value === (value | 0)],
  ['Float', (value) => Number.isFinite(value)],
  ['ID', (value) => typeof value === 'string' || Number.isInteger(value)],
]);

function findFaultOfScalar(value: unknown, type: GraphQLScalarType): Fault | undefined {
  const accepts = ACCEPTS.get(type.name);
  if (accepts?.(value)) return undefined;
  const refused = fault(`Expected value of type "${type}".`);
  if (accepts) return refused;
  try {
    return type.coerceInputValue(value) === undefined ? refused : undefined;
  } catch (error) {
    return error instanceof GraphQLError ? fault(error.message) : refused;
  }
}

function fault(message: string): Fault {
  return { place: '', message };
}

function within(place: string, { place: rest, message }: Fault): Fault {
  return { place: place + rest, message };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
