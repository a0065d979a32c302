import type { ChatRequest, Tool } from '../../domain/chat.ts';
import { ParameterError } from '../errors.ts';

/** A name that a choice of tools mentions, and where in the body it stands. */
export interface NamedTool {
  readonly name: string;
  readonly at: string;
}

/** What the caller wants of the tools: a mode, one of them, or a mode among some of them. */
export type Choice =
  | 'none'
  | 'auto'
  | 'required'
  | { readonly tool: NamedTool }
  | { readonly mode: 'auto' | 'required'; readonly among: readonly NamedTool[] };

/**
 * Tools and choice together, because a choice may leave only some of the tools.
 * @throws ParameterError for a choice of what is not among the tools.
 */
export function chooseTools(
  tools: readonly Tool[],
  choice: Choice,
): Pick<ChatRequest, 'tools' | 'toolChoice'> {
  if (choice === 'none') return { tools, toolChoice: { type: 'none' } };
  if (choice === 'auto') return { tools, toolChoice: { type: tools.length > 0 ? 'auto' : 'none' } };
  if (tools.length === 0) {
    throw new ParameterError(
      'invalid_value',
      'tool_choice',
      "Invalid value for 'tool_choice': it is only allowed when 'tools' are given.",
    );
  }
  if (choice === 'required') return { tools, toolChoice: { type: 'required' } };
  if ('tool' in choice) {
    requireTool(tools, choice.tool);
    return { tools, toolChoice: { type: 'tool', name: choice.tool.name } };
  }
  for (const named of choice.among) requireTool(tools, named);
  const allowed = choice.among.map(({ name }) => name);
  return {
    tools: tools.filter((tool) => allowed.includes(tool.name)),
    toolChoice: { type: choice.mode },
  };
}

function requireTool(tools: readonly Tool[], { name, at }: NamedTool): void {
  if (tools.some((tool) => tool.name === name)) return;
  throw new ParameterError(
    'invalid_value',
    at,
    `Invalid value for '${at}': it is none of the functions in 'tools'.`,
  );
}
