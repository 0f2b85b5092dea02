import { ensurePackages } from './ensure-packages.ts'
import { StartError } from './start-error.ts'
import { runSuite } from './test-run.ts'

const say = (line: string) => console.log(line)

async function preparePackages(): Promise<void> {
  try {
    for (const { name, without } of await ensurePackages('test', { say }))
      say(`no ${name}: tests of ${without} are skipped`)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    say(`${error.message}; tests that need these are skipped or fail`)
  }
}

await preparePackages()
process.exit(await runSuite({ folder: process.cwd(), say }, process.argv.slice(2)))
