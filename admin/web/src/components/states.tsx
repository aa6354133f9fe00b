import { Alert, Button, Center, Group, Loader, Stack, Text, ThemeIcon, Title } from '@mantine/core';
import { IconAlertTriangle, IconInbox } from '../icons';
import type { ComponentType, ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError } from '../api';

export function Waiting({ full = false }: { full?: boolean }) {
  const { t } = useTranslation();
  return (
    <Center mih={full ? '100dvh' : 160} role="status" aria-label={t('common.loading')}>
      <Loader size="sm" />
    </Center>
  );
}

export function Broken({ error, retry, full = false }: { error: unknown; retry?: () => void; full?: boolean }) {
  const { t } = useTranslation();
  const api = error instanceof ApiError ? error : null;
  const alert = (
    <Alert color="red" variant="light" icon={<IconAlertTriangle size={18} />} title={t('common.errorTitle')} maw={640} w="100%">
      <Stack gap="xs">
        <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
        {api?.requestId ? (
          <Text size="xs" c="dimmed">
            {t('common.requestId')}: <code>{api.requestId}</code>
          </Text>
        ) : null}
        {retry ? (
          <Group>
            <Button size="xs" variant="default" onClick={retry}>
              {t('common.retry')}
            </Button>
          </Group>
        ) : null}
      </Stack>
    </Alert>
  );
  return full ? (
    <Center mih="100dvh" p="md">
      {alert}
    </Center>
  ) : (
    alert
  );
}

export function Empty({ title, text, icon: Icon = IconInbox, children }: { title: string; text?: string; icon?: ComponentType<{ size?: number; stroke?: number }>; children?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py={48} px="md">
      <ThemeIcon size={44} radius="xl" variant="light" color="gray">
        <Icon size={22} stroke={1.6} />
      </ThemeIcon>
      <Title order={3} ta="center">
        {title}
      </Title>
      {text ? (
        <Text size="sm" c="dimmed" ta="center" maw={420}>
          {text}
        </Text>
      ) : null}
      {children}
    </Stack>
  );
}

/** What a list's answer can be; both kinds of query of the client have these. */
interface Answer {
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

/** Loaded shows its children when the list is there; until then that it is awaited, or what went wrong and how to try again. */
export function Loaded({ of, children }: { of: Answer; children: ReactNode }) {
  if (of.error) {
    return (
      <Stack p="lg">
        <Broken error={of.error} retry={() => void of.refetch()} />
      </Stack>
    );
  }
  return of.isPending ? <Waiting /> : children;
}

/** More asks for a list's next page while there is one. */
export function More({ of }: { of: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown } }) {
  const { t } = useTranslation();
  return of.hasNextPage ? (
    <Group justify="center" p="md">
      <Button variant="default" loading={of.isFetchingNextPage} onClick={() => void of.fetchNextPage()}>
        {t('common.loadMore')}
      </Button>
    </Group>
  ) : null;
}
