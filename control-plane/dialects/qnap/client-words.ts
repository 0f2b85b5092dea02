import { FleetError } from '../../../shared/errors.ts'

/** Core's names of fields, and what a client of this dialect calls them; `''`: its members stand by themselves here. */
export type FieldNames = Readonly<Record<string, string>>

/** `source.path` → `src.path`: the longest beginning that is known is renamed, the rest stays. */
function clientField(field: string, names: FieldNames): string {
  const segments = field.split('.')
  for (let known = segments.length; known > 0; known -= 1) {
    const name = names[segments.slice(0, known).join('.')]
    if (name !== undefined) return [name, ...segments.slice(known)].filter(Boolean).join('.') || field
  }
  return field
}

/**
 * Makes whatever a request is at fault with be told as the client spelled it.
 * @param subjects core's names of fields that name what the request is about: of those one that nobody has stays `not_found`.
 */
export function createClientWords(names: FieldNames, subjects: readonly string[] = []) {
  /**
   * What `work` answers. @throws what it throws; fields at fault under the client's names, and things that a request's body
   * names but nobody has as `invalid`: the path was right.
   */
  return async <Result>(work: Promise<Result>): Promise<Result> => {
    try {
      return await work
    } catch (error) {
      const isOfBody = error instanceof FleetError && (error.code === 'invalid' || error.code === 'not_found')
      if (!isOfBody || error.field === undefined) throw error
      const field = clientField(error.field, names)
      const reason = error.message.startsWith(`${error.field}: `)
        ? error.message.slice(error.field.length + 2)
        : error.message
      const code = error.code === 'not_found' && subjects.includes(error.field) ? 'not_found' : 'invalid'
      throw new FleetError(code, `${field}: ${reason}`, { field, cause: error })
    }
  }
}
