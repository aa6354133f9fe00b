import { ActionIcon, Alert, Badge, Button, Card, CopyButton, Group, Skeleton, Stack, Text, Title, Tooltip, type CardProps } from '@mantine/core';
import { IconCheck, IconCopy } from '../icons';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { type CallStatus, type Decimal, type KeyState } from '../api';
import { times, usd, written } from '../decimal';
import { useVisitor } from '../session';

/** Money shows an amount to its last digit; what is behind the cents is quieter. */
export function Money({ value, signed = false }: { value: Decimal; signed?: boolean }) {
  const credits = useVisitor().site.credits_per_usd;
  const w = written(credits > 0 ? times(value, credits) : value);
  const sign = w.sign === '' && signed ? '+' : w.sign;
  if (credits > 0) {
    const fraction = `${w.cents}${w.rest}`.replace(/0+$/, '');
    return (
      <span className="money" title={usd(value)}>
        {sign}
        {w.whole}
        {fraction === '' ? null : <span className="money-rest">.{fraction}</span>}
      </span>
    );
  }
  // Below a cent the places behind it are the amount.
  if (w.whole === '0' && w.cents === '00' && w.rest !== '') return <span className="money">{`${sign}$0.00${w.rest}`}</span>;
  return (
    <span className="money">
      {sign}${w.whole}.{w.cents}
      {w.rest === '' ? null : <span className="money-rest">{w.rest}</span>}
    </span>
  );
}

export function PageTitle({ title, text, children }: { title: string; text?: string; children?: ReactNode }) {
  return (
    <Group justify="space-between" align="flex-start" mb="lg" gap="md">
      <Stack gap={4} maw={680} style={{ flex: '1 1 260px' }}>
        <Title order={1}>{title}</Title>
        {text ? (
          <Text c="dimmed" size="sm">
            {text}
          </Text>
        ) : null}
      </Stack>
      {children ? <Group gap="sm">{children}</Group> : null}
    </Group>
  );
}

export function Panel({ title, aside, children, flush = false, ...rest }: { title?: ReactNode; aside?: ReactNode; children: ReactNode; flush?: boolean } & CardProps) {
  return (
    <Card className="panel" component="section" {...rest} padding={0}>
      {title || aside ? (
        <Group justify="space-between" px="lg" pt="md" pb={flush ? 'xs' : 0} gap="sm">
          {title ? <Title order={2}>{title}</Title> : <span />}
          {aside}
        </Group>
      ) : null}
      {flush ? children : <Stack p="lg" gap="md" flex={1}>{children}</Stack>}
    </Card>
  );
}

export function Stat({ label, value, hint, loading = false }: { label: string; value: ReactNode; hint?: ReactNode; loading?: boolean }) {
  return (
    <Card className="panel" padding="md">
      <Text size="sm" c="dimmed" fw={500}>
        {label}
      </Text>
      {loading ? (
        <Skeleton height={24} mt={8} mb={6} width="60%" />
      ) : (
        <Text className="stat" fz={{ base: 22, sm: 24 }} fw={650} lh={1.35} mt={2}>
          {value}
        </Text>
      )}
      <Text size="xs" c="dimmed" mih={18}>
        {loading ? '' : hint}
      </Text>
    </Card>
  );
}

const keyColors: Record<KeyState, string> = { active: 'teal', disabled: 'red', revoked: 'red', expired: 'orange' };

export function KeyBadge({ state }: { state: KeyState }) {
  const { t } = useTranslation();
  return (
    <Badge color={keyColors[state]} tt="none" fw={600}>
      {t(`keys.state.${state}`)}
    </Badge>
  );
}

const callColors: Record<CallStatus, string> = { success: 'teal', failed: 'red', timeout: 'orange', cancelled: 'gray', interrupted: 'red', refused: 'yellow' };

export function CallBadge({ status }: { status: CallStatus }) {
  const { t } = useTranslation();
  return (
    <Badge color={callColors[status]} tt="none" fw={600}>
      {t(`logs.status.${status}`)}
    </Badge>
  );
}

export function Copy({ value, label }: { value: string; label?: string }) {
  const { t } = useTranslation();
  return (
    <CopyButton value={value} timeout={1800}>
      {({ copied, copy }) =>
        label ? (
          <Button variant={copied ? 'light' : 'filled'} color={copied ? 'teal' : undefined} leftSection={copied ? <IconCheck size={16} /> : <IconCopy size={16} />} onClick={copy}>
            {copied ? t('common.copied') : label}
          </Button>
        ) : (
          <Tooltip label={copied ? t('common.copied') : t('common.copy')}>
            <ActionIcon variant="subtle" color={copied ? 'teal' : 'gray'} onClick={copy} aria-label={copied ? t('common.copied') : t('common.copy')}>
              {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            </ActionIcon>
          </Tooltip>
        )
      }
    </CopyButton>
  );
}

export function Share({ percent }: { percent: number }) {
  return (
    <div className="share" aria-hidden="true">
      <div style={{ width: `${Math.max(0, Math.min(100, percent))}%` }} />
    </div>
  );
}

/** A link that is shown once, to be handed to its person. */
export function HandedLink({ title, mailed, link, onDone, testid }: { title: string; mailed: boolean; link: string; onDone: () => void; testid: string }) {
  const { t } = useTranslation();
  return (
    <Alert color="teal" variant="light" title={title} data-testid={testid}>
      <Stack gap="xs">
        <Text size="sm">{t(mailed ? 'members.mailed' : 'members.notMailed')}</Text>
        <code className="key-token">{link}</code>
        <Group>
          <Copy value={link} label={t('common.copy')} />
          <Button variant="default" onClick={onDone}>
            {t('keys.revealDone')}
          </Button>
        </Group>
      </Stack>
    </Alert>
  );
}

/** The name of a model in a list, and under it what is to be known of it at a glance. */
export function ModelName({ id, children }: { id: string; children: ReactNode }) {
  return (
    <Stack gap={4}>
      <Text size="sm" fw={550} style={{ overflowWrap: 'anywhere' }}>
        {id}
      </Text>
      <Group gap={4}>{children}</Group>
    </Stack>
  );
}
