import type { FieldKind, FieldRef } from '../../core/query.ts'

/** What lists may be asked for by, as clients spell it: the field of core that it is, and its kind. */
export type WireFields<Name extends string> = Readonly<
  Record<string, { readonly name: Name; readonly kind: FieldKind }>
>

export interface FoundField<Name extends string> {
  readonly kind: FieldKind
  readonly ref: FieldRef<Name>
}

/** `tags.env` is a member of a map; undefined for what no list knows. */
export function findField<Name extends string>(
  fields: WireFields<Name>,
  spelled: string,
): FoundField<Name> | undefined {
  const dot = spelled.indexOf('.')
  const head = dot === -1 ? spelled : spelled.slice(0, dot)
  const field = Object.hasOwn(fields, head) ? fields[head] : undefined
  if (field === undefined) return undefined
  if (dot === -1) return { kind: field.kind, ref: { name: field.name } }
  const key = spelled.slice(dot + 1)
  if (field.kind !== 'map' || key === '' || !isStorable(key)) return undefined
  return { kind: 'map', ref: { name: field.name, key } }
}

/** Whether Postgres can keep, and therefore compare with, this text. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
