import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** What runs as a process of its own begins at once. */
export const PROGRAMS: readonly string[] = ['main.ts', 'instances/watchdog-process.ts']

/**
 * Loads what an agent and its threads ever load, and does nothing with it. Node keeps what it compiled (`NODE_COMPILE_CACHE`) for all that follow: who strips types for
 * himself takes some 25 MiB for that, in each thread, and keeps them.
 */
export async function loadAll(): Promise<void> {
  const folder = import.meta.dirname
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  for (const name of names) if (isModule(name)) await import(pathToFileURL(join(folder, name)).href)
}

function isModule(name: string): boolean {
  return name.endsWith('.ts') && !name.endsWith('.test.ts') && !PROGRAMS.includes(name)
}
