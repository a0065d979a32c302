import SchemaBuilder, {
  BasePlugin,
  type FieldNullability,
  type InputFieldMap,
  type PothosOutputFieldConfig,
  type SchemaTypes,
  type TypeParam,
} from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { requireScope } from '../core/steps/authorize.ts';
import { GatewayError } from '../domain/error.ts';
import type { Scope } from '../domain/principal.ts';
import type { GraphQLContext } from './context.ts';
import { encodeError, encodeGraphQLError, isExpected } from './errors.ts';

/** Who may use a root field: holders of a scope, or whoever has a valid key. There is no default. */
export interface Access {
  readonly scope: Scope | 'authenticated';
  /**
   * The field runs a request that the core meters. A refusal then belongs in the ledger, so the scope is left to the
   * core, which looks at it behind its meter.
   */
  readonly metered?: true;
}

declare global {
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      access: AccessPlugin<Types>;
    }
    interface QueryFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveReturnShape,
    > extends Access {}
    interface MutationFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveReturnShape,
    > extends Access {}
    interface SubscriptionFieldOptions<
      Types extends SchemaTypes,
      Type extends TypeParam<Types>,
      Nullable extends FieldNullability<Type>,
      Args extends InputFieldMap,
      ResolveShape,
      ResolveReturnShape,
    > extends Access {}
  }
}

type Resolve<Types extends SchemaTypes> = GraphQLFieldResolver<unknown, Types['Context'], object>;

/**
 * Who may use a root field, and how its failures look: the one place for both. A root field that does not say who may
 * use it does not build.
 */
class AccessPlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override onOutputFieldConfig(config: PothosOutputFieldConfig<Types>): PothosOutputFieldConfig<Types> {
    const access = accessOf(config);
    if (access === undefined) return config;
    const { scope } = access;
    const note = scope === 'authenticated' ? 'Any valid key may use it.' : `Needs the scope \`${scope}\`.`;
    return {
      ...config,
      description: `${config.description} ${note}`,
      extensions: { ...config.extensions, ...access },
    };
  }

  override wrapResolve(resolve: Resolve<Types>, config: PothosOutputFieldConfig<Types>): Resolve<Types> {
    // Fields that only show a property cannot fail, and those of an event are resolved for each token.
    if (config.kind === 'Subscription' || config.extensions?.['pothosExposedField']) return resolve;
    const access = accessOf(config);
    const onError = config.kind === 'Mutation' ? toResult : toTopLevel;
    return guarded(resolve, access, onError);
  }

  override wrapSubscribe(
    subscribe: Resolve<Types> | undefined,
    config: PothosOutputFieldConfig<Types>,
  ): Resolve<Types> | undefined {
    return subscribe && guarded(subscribe, accessOf(config), toTopLevel);
  }
}

SchemaBuilder.registerPlugin('access', AccessPlugin);

/** @returns undefined for what is not a root field. */
function accessOf<Types extends SchemaTypes>(config: PothosOutputFieldConfig<Types>): Access | undefined {
  if (config.kind !== 'Query' && config.kind !== 'Mutation' && config.kind !== 'Subscription')
    return undefined;
  const { scope, metered } = config.pothosOptions;
  // The types ask for it; this is for whoever gets around them.
  if (scope === undefined) throw new Error(`${config.parentType}.${config.name} does not say who may use it`);
  return metered ? { scope, metered } : { scope };
}

function guarded<Types extends SchemaTypes>(
  resolve: Resolve<Types>,
  access: Access | undefined,
  onError: (thrown: unknown, context: GraphQLContext) => unknown,
): Resolve<Types> {
  return (parent, args, untyped, info) => {
    // A plugin knows no more of the context than that it is an object.
    const context = untyped as GraphQLContext;
    try {
      if (access && access.scope !== 'authenticated' && !access.metered) {
        requireScope(context.principal, access.scope);
      }
      const result = resolve(parent, args, untyped, info);
      return result instanceof Promise ? result.catch((thrown) => onError(thrown, context)) : result;
    } catch (thrown) {
      return onError(thrown, context);
    }
  };
}

/** What a mutation can expect to go wrong is one of its results; anything else is for the server to mask. */
function toResult(thrown: unknown, context: GraphQLContext): unknown {
  if (thrown instanceof GatewayError && isExpected(thrown)) return encodeError(thrown, context);
  throw thrown;
}

function toTopLevel(thrown: unknown): never {
  throw thrown instanceof GatewayError && isExpected(thrown) ? encodeGraphQLError(thrown) : thrown;
}
