import { readConfig } from '../shared/config.ts'
import { runProcess } from '../shared/run-process.ts'
import { AgentConfig } from './config.ts'
import { startAgent } from './context.ts'

await runProcess(() => startAgent(readConfig(AgentConfig, process.env)))
