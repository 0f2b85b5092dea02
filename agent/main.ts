import { readConfig } from '../shared/config.ts'
import { runProcess } from '../shared/run-process.ts'
import { loadAll } from './compile.ts'
import { AgentConfig } from './config.ts'
import { startAgent } from './context.ts'

/** `main.ts compile` is run before an agent starts, and ends. */
if (process.argv[2] === 'compile') await loadAll()
else await runProcess(() => startAgent(readConfig(AgentConfig, process.env)))
