import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { commandEnvironment } from './command-environment.ts'
import { StartError } from './start-error.ts'

/** `npm run holdfast -- <command>`: the command line, told where the fleet of `npm start` keeps its database and keys. */
function run(): number {
  const program = join(import.meta.dirname, '..', 'control-plane', 'cli.ts')
  const env = commandEnvironment(process.env)
  const { status, error } = spawnSync(process.execPath, [program, ...process.argv.slice(2)], { stdio: 'inherit', env })
  if (error) throw error
  return status ?? 1
}

try {
  process.exitCode = run()
} catch (error) {
  if (!(error instanceof StartError)) throw error
  console.error(`holdfast: ${error.message}`)
  process.exitCode = 1
}
