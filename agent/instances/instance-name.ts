import { FleetError } from '../../shared/errors.ts'

/**
 * Engines' own rule (moby daemon/names: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`), bounded; LXC allows more, and what is named otherwise there
 * is not seen. Never an option, a path, or two words.
 */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$/

export function isInstanceName(text: string): boolean {
  return NAME.test(text)
}

/** @throws invalid */
export function checkInstanceName(text: string): void {
  if (!isInstanceName(text)) throw new FleetError('invalid', 'no instance can have this name', { field: 'id' })
}

/** A path that can be one value of a line and one argument. @throws invalid */
export function checkHostPath(path: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  const bad = !path.startsWith('/') || /[\u0000-\u001f\u007f]/.test(path) || path.split('/').includes('..')
  if (bad) throw new FleetError('invalid', 'not an absolute path')
}
