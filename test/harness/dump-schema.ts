import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createDataSource, migrate } from '../../control-plane/db/data-source.ts'
import { findPostgresFolders } from '../../deploy/tools.ts'
import { withScratchPostgres } from './scratch-postgres.ts'

/** `node test/harness/dump-schema.ts [--check]`: writes control-plane/db/schema.sql, or exits 1 when it is not what the migrations make. */
const path = resolve(import.meta.dirname, '../../control-plane/db/schema.sql')

const schema = await withScratchPostgres(async (url) => {
  const db = createDataSource({ url, poolSize: 2 })
  await db.initialize()
  await migrate(db)
  await db.destroy()
  const program = join(findPostgresFolders()[0] ?? '/usr/bin', 'pg_dump')
  return readable(
    execFileSync(program, ['--schema-only', '--no-owner', '--no-privileges', '--no-comments', url], {
      encoding: 'utf8',
    }),
  )
})

if (!process.argv.includes('--check')) writeFileSync(path, schema)
else if (readFileSync(path, 'utf8') !== schema) {
  console.error(
    'control-plane/db/schema.sql is not what the migrations make: run `npm run schema` and look at the difference',
  )
  process.exit(1)
}

/** Without what differs between versions of pg_dump and between runs: comments, settings, `\restrict` keys. */
function readable(dump: string): string {
  const lines = dump.split('\n').filter((line) => !/^(--|SET |SELECT pg_catalog|\\(un)?restrict)/.test(line))
  return `${lines
    .join('\n')
    .replaceAll(/\n{3,}/g, '\n\n')
    .trim()}\n`
}
