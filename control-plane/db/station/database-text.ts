import { z } from 'zod'

/** What does not come along: news that nobody can resume from after a restore, and logins that may have ended since. */
export const LEFT_OUT = ['event', 'session', 'login_failure'] as const

const Name = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/)
/** As Postgres writes types: `timestamp with time zone`, `uuid[]`. */
const TypeName = z.string().regex(/^[a-z0-9_ ()[\],]{1,100}$/)

const Table = z.object({
  name: Name,
  /** Without generated ones. */
  columns: z.array(z.object({ name: Name, type: TypeName })).min(1),
})

/** What a database is made of beside its rows. */
export const DatabaseHead = z.object({
  /** Names of the migrations that have run, in their order. */
  migrations: z.array(z.string().max(100)).min(1),
  tables: z.array(Table),
  /** Each at least as far as any row of the same moment. */
  sequences: z.array(z.object({ name: Name, last: z.number().int().nonnegative().nullable() })),
})
export type DatabaseHead = Readonly<z.infer<typeof DatabaseHead>>
export type TableHead = DatabaseHead['tables'][number]

/** Rows of one table: a line each, a JSON array of the columns as Postgres writes them as text, or null. */
export interface TableRows {
  readonly table: string
  readonly text: string
  readonly rows: number
}

/** A name within a statement. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
