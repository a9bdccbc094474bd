"""Doors opened by time or by a fact: each worker is one coroutine and one row here.

A worker that returns has finished for good; one that fails is started again after a while.
"""

from instrument_registry.configuration.toggles import EVENT_STREAMING, SUBSCRIPTION_PLANNING
from instrument_registry.workers.audit import seal_audit, tell_witness
from instrument_registry.workers.configure import follow_configuration, make_scheduled_changes
from instrument_registry.workers.connections import watch_connections
from instrument_registry.workers.consumers import watch_consumers
from instrument_registry.workers.deliver import deliver
from instrument_registry.workers.expire import expire_daily
from instrument_registry.workers.ingest import keep_schedules, load_demo, work_jobs
from instrument_registry.workers.kind import Worker
from instrument_registry.workers.measure import measure_log
from instrument_registry.workers.plan import plan_for_changes
from instrument_registry.workers.project import project_daily_facts
from instrument_registry.workers.relay import relay_to_redis
from instrument_registry.workers.retain import retain_daily
from instrument_registry.workers.rules import settle_rules
from instrument_registry.workers.secrets import forget_ended_secrets
from instrument_registry.workers.sequencer import sequence
from instrument_registry.workers.silence import listen_for_silence
from instrument_registry.workers.switching import while_on

__all__ = ["WORKERS", "Worker"]

WORKERS: dict[str, Worker] = {
    "sequencer": sequence,
    "audit": seal_audit,
    "audit_witness": tell_witness,
    "demo": load_demo,
    "jobs": work_jobs,
    "schedules": keep_schedules,
    "expiry": expire_daily,
    "relay": while_on(EVENT_STREAMING, relay_to_redis),
    "webhooks": while_on(EVENT_STREAMING, deliver),
    "consumers": watch_consumers,
    "measures": measure_log,
    "daily_facts": project_daily_facts,
    "retention": retain_daily,
    "configuration": follow_configuration,
    "configuration_schedule": make_scheduled_changes,
    "planner": while_on(SUBSCRIPTION_PLANNING, plan_for_changes),
    "secrets": forget_ended_secrets,
    "connections": watch_connections,
    "rules": settle_rules,
    "silence": listen_for_silence,
}
