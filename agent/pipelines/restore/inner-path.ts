import { FleetError } from '../../../shared/errors.ts'

const NAME_MAX_BYTES = 255

/**
 * The components of a client's absolute path; none for `/`. Doubled and trailing slashes and `.` mean nothing.
 * @param field named by the failure
 * @throws invalid; refused (`..`)
 */
export function componentsOf(path: string, field: string): readonly string[] {
  if (!path.startsWith('/')) throw new FleetError('invalid', `${field} must be an absolute path`, { field })
  if (path.includes('\0')) throw new FleetError('invalid', `${field} must not hold a NUL`, { field })
  const components = path.split('/').filter((component) => component !== '' && component !== '.')
  if (components.includes('..')) throw new FleetError('refused', `${field} must not hold '..'`, { field })
  if (components.some((component) => Buffer.byteLength(component) > NAME_MAX_BYTES)) {
    throw new FleetError('invalid', `a name in ${field} is longer than ${NAME_MAX_BYTES} bytes`, { field })
  }
  return components
}

/** For a lookup beneath a descriptor: never empty, never absolute. */
export function relativePath(components: readonly string[]): string {
  return components.length === 0 ? '.' : components.join('/')
}
